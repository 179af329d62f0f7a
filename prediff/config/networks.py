"""The sections of a configuration that describe networks and the process between them."""

from typing import Annotated, Literal

from pydantic import Field

from prediff.config.section import Fraction, PositiveInt, Section, Weight


class Autoencoder(Section):
    """The frame-wise VAE (Gao et al. 2023, section 3.1; MODEL section 3)."""

    latent_channels: PositiveInt = Field(16, description="channels of a latent frame")
    widths: tuple[PositiveInt, ...] = Field(
        (8, 16, 32, 64),
        description="channels of each block; every block but the last halves frames",
    )
    layers_per_block: PositiveInt = Field(1, description="residual layers of a block")
    norm_groups: PositiveInt = Field(8, description="groups of the group normalisations")


class Earthformer(Section):
    """What the denoiser and the alignment network have in common (MODEL sections 2 and 5)."""

    base_width: PositiveInt = Field(32, description="channels of the first level")
    depths: tuple[PositiveInt, ...] = Field((1, 1), description="blocks of each level")
    num_heads: PositiveInt = Field(2, description="attention heads of every level")
    width_exponent: Annotated[float, Field(ge=0)] = Field(
        1.0, description="width of level i: base_width * int(2**(width_exponent * i))"
    )
    attention_pattern: str = Field(
        "axial", description="how cuboids are cut, by name: axial, as published, is along each axis"
    )
    padding: Literal["zeros", "ignore", "nearest"] = Field(
        "zeros", description="of frames that cuboids do not divide"
    )
    attention_dropout: Fraction = Field(0.0, description="share of attention weights dropped")
    projection_dropout: Fraction = Field(0.0, description="share dropped after attention")
    feed_forward_dropout: Fraction = Field(0.0, description="share dropped within feed-forwards")
    recompute: bool = Field(
        False, description="keep only what enters a block, and run it again in the backward pass"
    )
    attention_backend: Literal["auto", "native", "ascend", "reference"] = Field(
        "auto", description="auto: the device's fused operator, or plain operations without one"
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of products and convolutions; norms and softmax stay float32"
    )


class Denoiser(Earthformer):
    """The Earthformer-UNet (MODEL section 2)."""

    time_block_dropout: Fraction = Field(0.0, description="share dropped within time blocks")
    global_vectors: Annotated[int, Field(ge=0)] = Field(
        0, description="vectors that all cuboids see and change"
    )
    hierarchical_position_embedding: bool = Field(
        False, description="position embeddings at every level, not the first alone"
    )


class Diffusion(Section):
    """The latent diffusion process (MODEL section 4)."""

    objective: Literal["denoising", "crps"] = Field(
        "denoising",
        description="crps: instead of a diffusion a network that makes each member in one pass, on "
        "pixels, without autoencoder and latents; section one_pass",
    )
    noise_steps: PositiveInt = Field(1000, description="of the process that adds noise")
    noise_schedule: Literal["linear", "cosine", "sqrt_linear", "sqrt", "straight"] = Field(
        "linear", description="straight: the path of flow matching"
    )
    parameterization: Literal["eps", "x0", "v", "velocity"] = Field(
        "v", description="what the denoiser predicts: eps as published; v learns faster"
    )
    learn_log_variance: bool = Field(True, description="a learned weight a noise step")
    variational_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of the variational bound beside the simple loss"
    )
    latent_scale: Annotated[float, Field(gt=0)] | Literal["unit_variance"] = Field(
        "unit_variance", description="factor on the target latents; the published one is 1"
    )


class OnePass(Section):
    """The network of objective crps, and its loss (docs/benchmarks/forecast-skill.md)."""

    conditions: Annotated[tuple[Literal["context", "extrapolation"], ...], Field(min_length=1)] = (
        Field(
            ("context", "extrapolation"),
            description="without extrapolation the forecast starts from the last frame held still",
        )
    )
    init_from: Literal["nothing", "starter"] = Field(
        "nothing", description="starter: a training begins with the packaged weights"
    )
    patch: PositiveInt = Field(2, description="pixels a side that become channels of one cell")
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = Field(
        (40, 80, 128), description="channels of each level; every level but the last halves frames"
    )
    blocks: PositiveInt = Field(1, description="residual blocks per level, down and up")
    noise_channels: PositiveInt = Field(8, description="channels of noise, a member's own")
    norm_groups: PositiveInt = Field(8, description="groups of the group normalisations")
    alpha: Annotated[float, Field(gt=0, le=1)] = Field(0.95, description="1: the fair CRPS")
    weights: tuple[Weight, Weight, Weight, Weight, Weight, Weight] = Field(
        (1.0, 1.0, 0.5, 0.25, 0.1, 0.1),
        description="of pixels, means of 4 and 16 pixels, maxima of 4 and 16, and the spectrum",
    )
    calm: Annotated[float, Field(gt=0)] = Field(
        0.02, description="the smaller, the more a calm window counts; mean VIL / 255"
    )
    gain: Weight = Field(
        0.15, description="deviation of the logarithm of a common factor on a sample's values"
    )
    forecast_noise: tuple[Weight, ...] = Field(
        (), description="factor on the noise of each level, fine to coarse, in forecasts; empty: 1"
    )


class Alignment(Earthformer):
    """The knowledge-alignment network (MODEL section 5)."""

    base_width: PositiveInt = Field(16, description="channels of the first level")
    num_heads: PositiveInt = Field(1, description="attention heads of every level")
