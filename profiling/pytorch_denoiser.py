"""The published denoiser in eager PyTorch, as a user would write it, to compare with.

    python -m venv /tmp/pytorch && /tmp/pytorch/bin/pip install torch==2.13.0 numpy psutil
    OMP_NUM_THREADS=2 /tmp/pytorch/bin/python profiling/pytorch_denoiser.py --steps 3
    OMP_NUM_THREADS=2 python -m profiling full-model --steps 3

It needs PyTorch, which this project does not, and nothing of this project. Same layers (the number
of parameters is checked), batch 1, float32, dropout 0.1, AdamW, clipping and the moving average.

Shapes: B batch; T, H, W grid; C channel; h heads; L tokens of a cuboid.
"""

import argparse
import resource
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PARAMETERS = 136_817_538
FORWARD_OPERATIONS = 654e9
PAST, FUTURE, SIDE, LATENT, WIDTH, DEPTH, HEADS = 7, 6, 16, 64, 256, 4, 4
FRAMES, EMBEDDING = PAST + FUTURE, 4 * WIDTH


class ResidualBlock(nn.Module):
    """`[B,C,T,H,W] -> [B,C',T,H,W]`, with the time vector `[B,1024]` where there is one."""

    def __init__(self, before: int, after: int, *, embedded: bool, dropout: float):
        super().__init__()
        groups = 32 if before % 32 == 0 else before
        self.enter = nn.Sequential(
            nn.GroupNorm(groups, before), nn.SiLU(), nn.Conv3d(before, after, 3, padding=1)
        )
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, after)) if embedded else None
        self.leave = nn.Sequential(
            nn.GroupNorm(32, after),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv3d(after, after, 3, padding=1),
        )
        self.skip = nn.Identity() if before == after else nn.Conv3d(before, after, 1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        a = self.enter(x)
        if self.embed is not None:
            a = a + self.embed(e)[:, :, None, None, None]
        return self.skip(x) + self.leave(a)


class AxialAttention(nn.Module):
    """Attention along one axis (1 T, 2 H, 3 W) of `[B,T,H,W,C]`, norm included."""

    def __init__(self, width: int, axis: int, length: int):
        super().__init__()
        self.axis = axis
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(2 * length - 1, HEADS))
        place = torch.arange(length)
        self.register_buffer("relative", place[:, None] - place[None, :] + length - 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).transpose(self.axis, 3)
        *sizes, length, width = rows.shape
        qkv = self.qkv(rows).view(-1, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.relative].permute(2, 0, 1)
        y = F.scaled_dot_product_attention(*qkv, attn_mask=bias, dropout_p=0.1 * self.training)
        y = y.transpose(1, 2).reshape(*sizes, length, width).transpose(self.axis, 3)
        return F.dropout(self.projection(y), 0.1, self.training)


class Stack(nn.Module):
    """Attention along T, H and W, each followed by a feed-forward layer."""

    def __init__(self, width: int, side: int):
        super().__init__()
        lengths = (FRAMES, side, side)
        self.attentions = nn.ModuleList(
            [AxialAttention(width, k + 1, length) for k, length in enumerate(lengths)]
        )
        self.feed_forwards = nn.ModuleList(
            [
                nn.Sequential(
                    nn.LayerNorm(width),
                    nn.Linear(width, 4 * width),
                    nn.GELU(),
                    nn.Dropout(0.1),
                    nn.Linear(4 * width, width),
                    nn.Dropout(0.1),
                )
                for _ in lengths
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            x = x + attention(x)
            x = x + feed_forward(x)
        return x


class Level(nn.Module):
    """A time block, shared by all repeats, and a stack for each repeat."""

    def __init__(self, width: int, side: int):
        super().__init__()
        self.time_block = ResidualBlock(width, width, embedded=True, dropout=0.0)
        self.stacks = nn.ModuleList([Stack(width, side) for _ in range(DEPTH)])

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        for stack in self.stacks:
            x = stack(self.time_block(x.movedim(-1, 1), e).movedim(1, -1))
        return x


class Denoiser(nn.Module):
    """``forward(noisy [B,6,16,16,64], step [B], context [B,7,16,16,64])``."""

    def __init__(self):
        super().__init__()
        self.entry = ResidualBlock(LATENT + 1, WIDTH, embedded=False, dropout=0.1)
        self.places = nn.ParameterList(
            [nn.Parameter(torch.zeros(n, WIDTH)) for n in (FRAMES, SIDE, SIDE)]
        )
        self.time = nn.Sequential(
            nn.Linear(WIDTH, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.down, self.up = (
            nn.ModuleList([Level(WIDTH, SIDE), Level(2 * WIDTH, SIDE // 2)]) for _ in range(2)
        )
        self.merge = nn.Sequential(
            nn.LayerNorm(4 * WIDTH), nn.Linear(4 * WIDTH, 2 * WIDTH, bias=False)
        )
        self.grow = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)
        self.final = nn.Linear(WIDTH, LATENT)

    def forward(self, noisy: Tensor, step: Tensor, context: Tensor) -> Tensor:
        x = torch.cat((context, noisy), 1)
        batch = len(x)
        mark = (torch.arange(FRAMES) < PAST).float().view(1, FRAMES, 1, 1, 1)
        x = torch.cat((x, mark.expand(batch, FRAMES, SIDE, SIDE, 1)), -1)
        x = self.entry(x.movedim(-1, 1)).movedim(1, -1)
        t, h, w = self.places
        x = x + (t[:, None, None] + h[:, None] + w)
        frequencies = torch.exp(-9.210340371976184 * torch.arange(WIDTH // 2) / (WIDTH // 2))
        angles = step[:, None] * frequencies
        e = self.time(torch.cat((angles.cos(), angles.sin()), 1))
        x = skip = self.down[0](x, e)
        half = SIDE // 2
        x = x.reshape(batch, FRAMES, half, 2, half, 2, WIDTH).transpose(3, 4)
        x = self.merge(x.reshape(batch, FRAMES, half, half, 4 * WIDTH))
        x = self.up[1](self.down[1](x, e), e)
        x = F.interpolate(x.flatten(0, 1).movedim(-1, 1), scale_factor=2)
        x = self.grow(x).movedim(1, -1).reshape(batch, FRAMES, SIDE, SIDE, WIDTH)
        return self.final(self.up[0](x + skip, e)[:, PAST:])


def product_rate() -> float:
    """Return operations a second of a matrix product, the best of ten."""
    matrix, seconds = torch.ones(2048, 2048), []
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    peak = product_rate()
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads")
    denoiser = Denoiser()
    weights = list(denoiser.parameters())
    count = sum(weight.numel() for weight in weights)
    assert count == PARAMETERS, f"{count} parameters are not those of the published denoiser"
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=1e-2)
    noisy, noise = torch.randn(2, 1, FUTURE, SIDE, SIDE, LATENT)
    context, step = torch.randn(1, PAST, SIDE, SIDE, LATENT), torch.tensor([500.0])

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.mse_loss(denoiser(noisy, step, context), noise).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1e-3)

    def forecast() -> None:
        with torch.no_grad():
            denoiser(noisy, step, context)

    for what, call, passes in (("training step", train, 3), ("forward", forecast, 1)):
        denoiser.train(call is train)
        for number in range(1 + options.steps):
            began = time.perf_counter()
            call()
            seconds = time.perf_counter() - began
            rate = passes * FORWARD_OPERATIONS / seconds
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{'first ' if not number else ''}{what}: {seconds:.1f} s, memory at most "
                f"{most:.1f} GiB, {rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of the peak",
                flush=True,
            )


if __name__ == "__main__":
    main()
