"""What the autoencoder minimises without an adversary: L1 reconstruction and a small KL term.

Shapes: N frames, H height, W width, C channel.
"""

from mindspore import nn, ops

from prediff.models.autoencoder import Autoencoder


def kl_divergence(mean, logvar):
    """Return KL(N(mean, exp(logvar)) || N(0, 1)) of each frame, `[N]`, summed over its latents.

    Source: Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (ops.square(mean) + ops.exp(logvar) - 1.0 - logvar).sum(axis=(1, 2, 3))


class ReconstructionLoss(nn.Cell):
    """Sum of absolute errors a frame plus `kl_weight` times the KL divergence, mean over frames.

    The reference divides the first term by exp(s) and adds s; s stays at its initial 0 there, as
    no optimizer owns it, and is left out here. Source: MODEL.md section 3.
    """

    def __init__(self, autoencoder: Autoencoder, *, kl_weight: float = 1e-6):
        super().__init__()
        self.autoencoder = autoencoder
        self.kl_weight = kl_weight

    def construct(self, frames, noise):
        """Return (loss, mean absolute error of a pixel, mean KL divergence of a frame).

        Args:
            frames: `[N,H,W,C]` in [0, 1].
            noise: standard normal, `[N,H/r,W/r,C_latent]`.
        """
        reconstruction, mean, logvar = self.autoencoder(frames, noise)
        error = ops.abs(frames - reconstruction)
        kl = kl_divergence(mean, logvar).mean()
        loss = error.sum() / frames.shape[0] + self.kl_weight * kl
        return loss, error.mean(), kl
