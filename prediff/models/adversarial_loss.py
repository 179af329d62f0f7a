"""The two losses of the autoencoder's adversarial training, each one compiled, one gradient.

Shapes: N frames, H height, W width, C channel, F channels that the decoder's last layer reads.
Source: Esser et al. 2021 (VQGAN), section 3.1; MODEL.md section 3.

The generator's loss is L1 + KL + d_w * g with g = -mean(scores of the reconstruction). The weight
d_w compares the gradients of L1 and g at the decoder's last weight. That layer is linear, so both
follow from the losses' gradients at the reconstruction and from what the layer read; neither
needs a pass through the decoder. The gradient of g at the reconstruction, once computed, also
stands for the discriminator in the backward pass: it is run forward and backward once.
"""

from mindspore import nn, ops

from hpc.ops.padding import pad_with_zeros
from prediff.models.autoencoder import Autoencoder
from prediff.models.discriminator import PatchDiscriminator
from prediff.models.reconstruction_loss import kl_divergence

_LARGEST_RATIO = 1e4
_RATIO_EPSILON = 1e-4


class GeneratorScore(nn.Cell):
    """g of frames `[N,H,W,C]`: minus the mean score that the discriminator gives them."""

    def __init__(self, discriminator: PatchDiscriminator):
        super().__init__()
        self.discriminator = discriminator

    def construct(self, frames):
        return -self.discriminator(frames).mean()


class LastWeightGradient(nn.Cell):
    """Gradients of losses at a 3x3 stride-1 convolution's weight from those at its output.

    `construct(read, gradients)` takes the layer's input `[N,H,W,F]` and gradients `[N,H,W,K]` at
    its output for K (loss, output channel) pairs, and returns `[9*F, K]`.
    """

    def __init__(self):
        super().__init__()
        self.product = ops.MatMul(transpose_a=True)

    def construct(self, read, gradients):
        _, height, width, features = read.shape
        columns = gradients.reshape(-1, gradients.shape[-1])
        grown = pad_with_zeros(read, ((0, 0), (1, 1), (1, 1), (0, 0)))
        taps = [
            self.product(
                grown[:, t // 3 : t // 3 + height, t % 3 : t % 3 + width].reshape(-1, features),
                columns,
            )
            for t in range(9)
        ]
        return ops.concat(taps)


class GeneratorLoss(nn.Cell):
    """The autoencoder's loss in adversarial training.

    Args:
        autoencoder: trained by this loss.
        discriminator: held constant; its batch statistics are those of the reconstructions.
        kl_weight: factor of the KL divergence.
        discriminator_weight: factor of the adaptive weight (0.5 as published).
        reduce_mean: averages a tensor over the data-parallel ranks, so that the adaptive weight is
            that of the global batch; None on a single rank.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        discriminator: PatchDiscriminator,
        *,
        kl_weight: float = 1e-6,
        discriminator_weight: float = 0.5,
        reduce_mean: nn.Cell | None = None,
    ):
        super().__init__()
        self.autoencoder = autoencoder
        self.kl_weight = kl_weight
        self.discriminator_weight = discriminator_weight
        self.reduce_mean = nn.Identity() if reduce_mean is None else reduce_mean
        self.score_and_gradient = ops.value_and_grad(GeneratorScore(discriminator))
        self.last_weight_gradient = LastWeightGradient()

    def construct(self, frames, noise, adversarial_weight):
        """Return (loss, mean absolute error, mean KL divergence, g, d_w).

        Args:
            frames: `[N,H,W,C]` in [0, 1].
            noise: standard normal, `[N,H/r,W/r,C_latent]`.
            adversarial_weight: `[N]`; 0 for every frame before the adversary's start step, then 1.
        """
        mean, logvar = self.autoencoder.encoder(frames)
        latents = mean + ops.exp(0.5 * logvar) * noise
        read = self.autoencoder.decoder.features(latents)
        reconstruction = self.autoencoder.decoder.conv_out(read)

        error = ops.abs(frames - reconstruction)
        kl = kl_divergence(mean, logvar).mean()
        constant = ops.stop_gradient(reconstruction)
        score, gradient = self.score_and_gradient(constant)
        score, gradient = ops.stop_gradient(score), ops.stop_gradient(gradient)
        weight = self.adaptive_weight(frames, constant, ops.stop_gradient(read), gradient)

        # Its value is 0 and its gradient at the reconstruction that of g.
        adversarial = (gradient * (reconstruction - constant)).sum()
        loss = error.sum() / frames.shape[0] + self.kl_weight * kl
        loss = loss + adversarial_weight.mean() * weight * (score + adversarial)
        return loss, error.mean(), kl, score, weight

    def adaptive_weight(self, frames, reconstruction, read, score_gradient):
        """Return d_w = factor * clamp(|grad L1| / (|grad g| + 1e-4), 0, 1e4), a constant."""
        error_gradient = ops.sign(reconstruction - frames) / frames.shape[0]
        gradients = ops.concat((error_gradient, score_gradient), -1)
        at_weight = self.reduce_mean(self.last_weight_gradient(read, gradients))
        squares = (at_weight * at_weight).sum(0).reshape(2, -1).sum(1)
        norms = ops.sqrt(squares)
        ratio = ops.clamp(norms[0] / (norms[1] + _RATIO_EPSILON), 0.0, _LARGEST_RATIO)
        return ops.stop_gradient(self.discriminator_weight * ratio)


class DiscriminatorLoss(nn.Cell):
    """The discriminator's hinge loss on frames and on their reconstructions.

    Each kind is normalised by its own batch statistics, as in the reference. The autoencoder is
    held constant.
    """

    def __init__(self, autoencoder: Autoencoder, discriminator: PatchDiscriminator):
        super().__init__()
        self.autoencoder = autoencoder
        self.discriminator = discriminator

    def construct(self, frames, noise, adversarial_weight):
        """Return (loss, mean score of real frames, mean score of reconstructions).

        The arguments are those of `GeneratorLoss`.
        """
        reconstruction = ops.stop_gradient(self.autoencoder(frames, noise)[0])
        real = self.discriminator(frames)
        made = self.discriminator(reconstruction)
        loss = 0.5 * (ops.relu(1.0 - real).mean() + ops.relu(1.0 + made).mean())
        return adversarial_weight.mean() * loss, real.mean(), made.mean()
