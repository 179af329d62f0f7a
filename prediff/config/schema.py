"""Configuration: frozen pydantic models, a YAML file, and ``--set a.b=c`` on top.

The defaults written here are the tiny configuration (minutes on two cores); `configs/tiny.yaml`
spells out the same values. A key left out of a file takes the value that stands here; a key that
stands in a file and not here is an error that names the nearest valid one.
"""

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[
    tuple[Fraction, Fraction],
    Field(description="AdamW's decay of the first and the second moment, per step"),
]
Duration = Annotated[
    str,
    Field(
        pattern=r"^[1-9]\d* (steps|epochs)$", description="length of the training: steps or epochs"
    ),
]
GlobalBatch = Annotated[
    PositiveInt, Field(description="samples of one step, of all ranks together")
]
LearningRate = Annotated[
    float, Field(gt=0, description="highest learning rate, after warm-up, before decay")
]
WeightDecay = Annotated[float, Field(ge=0, description="AdamW's, on weights of two axes or more")]
Clip = Annotated[
    float, Field(gt=0, description="global norm to which a longer gradient is shortened")
]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Synthetic(Section):
    """The storms that are made when `data.root` is not given."""

    train_events: PositiveInt = Field(48, description="events of 25 frames to train on")
    test_events: PositiveInt = Field(8, description="later events, for the test")


class Data(Section):
    root: Path | None = Field(None, description="SEVIR-LR tree; null: synthetic storms")
    synthetic: Synthetic = Synthetic()
    frame_size: PositiveInt = Field(
        64, description="pixels a side; larger frames are reduced by block maximum, as SEVIR-LR was"
    )
    context_frames: PositiveInt = Field(7, description="frames that a forecast starts from")
    forecast_frames: PositiveInt = Field(6, description="frames that are forecast")
    window_stride: PositiveInt = Field(6, description="frames between the windows of an event")
    test_from: Literal["auto"] | datetime = Field(
        "auto", description="events later than this UTC time are the test set; auto: the widest gap"
    )
    split: Literal["by_event", "by_sequence"] = Field(
        "by_event", description="by_sequence is the reference's split: its windows overlap"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of the training events that validate instead"
    )


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
    attention_backend: Literal["auto", "native", "emulated", "ascend", "reference"] = Field(
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


class Alignment(Earthformer):
    """The knowledge-alignment network (MODEL section 5)."""

    base_width: PositiveInt = Field(16, description="channels of the first level")
    num_heads: PositiveInt = Field(1, description="attention heads of every level")


class Training(Section):
    """What every training stage has: length, batches, optimizer, and what is kept."""

    duration: Duration
    global_batch: GlobalBatch
    micro_batch: PositiveInt = Field(
        64, description="samples a rank holds at once; a larger share is accumulated"
    )
    learning_rate: LearningRate
    weight_decay: WeightDecay
    warmup_fraction: Fraction = Field(0.1, description="share of the steps with a rising rate")
    warmup_start: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="of learning_rate, at the first step"
    )
    final_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        1e-3, description="of learning_rate, at the last step of the cosine"
    )
    gradient_clip: Clip = 1.0
    log_every: PositiveInt = Field(10, description="steps between lines of the log")
    validate_every: PositiveInt = Field(100, description="steps between validations")
    checkpoint_every: PositiveInt = Field(100, description="steps between checkpoints")
    keep_checkpoints: PositiveInt = Field(2, description="newest checkpoints that are kept")
    keep_every: PositiveInt | None = Field(
        None, description="steps; checkpoints at their multiples are never deleted"
    )
    stop_after_bad_steps: PositiveInt = Field(
        10, description="steps in a row without a finite loss and gradient that end the run"
    )


class Adversarial(Section):
    """The discriminator of the VAE-GAN and its optimizer (MODEL section 3)."""

    start_step: Annotated[int, Field(ge=0)] | None = Field(
        None, description="optimizer step from which the VAE has an adversary; null: never"
    )
    weight: Annotated[float, Field(ge=0)] = Field(
        0.5, description="factor on the adaptive weight of the adversarial loss"
    )
    base_width: PositiveInt = Field(16, description="channels of the discriminator's first layer")
    learning_rate: Annotated[float, Field(gt=0)] = Field(5e-6, description="constant")
    betas: Betas = (0.5, 0.9)
    gradient_clip: Clip = 1.0


class TrainAutoencoder(Training):
    duration: Duration = "400 steps"
    global_batch: GlobalBatch = 16
    learning_rate: LearningRate = 2e-3
    weight_decay: WeightDecay = 0.0
    summation_shards: PositiveInt | None = Field(
        8,
        description="at most so many equal parts of the global batch, a power of two, whose "
        "gradients are added up in a fixed order: the same bits on any number of ranks that "
        "divides it; null, and with an adversary: as is fastest",
    )
    betas: Betas = (0.9, 0.999)
    kl_weight: Annotated[float, Field(ge=0)] = Field(
        1e-6, description="of the divergence from a normal distribution beside the reconstruction"
    )
    adversarial: Adversarial = Adversarial()
    augmentation: Literal["none", "flips_and_quarter_turns", "any_rotation"] = Field(
        "flips_and_quarter_turns", description="how frames are turned before they are learned"
    )

    @model_validator(mode="after")
    def _check_summation_shards(self) -> "TrainAutoencoder":
        shards = self.summation_shards
        if shards is None or self.adversarial.start_step is not None:
            return self
        if shards.bit_count() != 1:
            raise ValueError(f"summation_shards {shards} must be a power of two, or null")
        part = self.global_batch // math.gcd(shards, self.global_batch)
        if part > self.micro_batch:
            raise ValueError(
                f"summation_shards {shards} make parts of {part} samples, more than micro_batch "
                f"{self.micro_batch}: give more shards, or null"
            )
        return self


class TrainDiffusion(Training):
    duration: Duration = "300 steps"
    global_batch: GlobalBatch = 16
    learning_rate: LearningRate = 2e-3
    weight_decay: WeightDecay = 1e-2
    ema_decay: Fraction = Field(
        0.98, description="of the moving average of the weights, per step; 0.98 is 50 steps long"
    )
    augmentation: Literal["none", "flips_and_quarter_turns"] = Field(
        "none", description="flips_and_quarter_turns: eight latent variants of every event"
    )


class TrainAlignment(Training):
    duration: Duration = "300 steps"
    global_batch: GlobalBatch = 16
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 1e-2


class Guidance(Section):
    """Which mean intensity the forecasts are steered to, and how strongly (MODEL 4.6)."""

    source: Literal["none", "oracle", "persistence", "trend", "climatology", "number"] = Field(
        "none", description="oracle reads it from the true future, which no forecaster has"
    )
    value: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="the mean intensity itself, for source number alone; 1 is a VIL of 255"
    )
    factor: Annotated[float, Field(gt=0)] = Field(
        1.0, description="on what the source gives; the published demonstration takes 2"
    )
    scale: Annotated[float, Field(gt=0)] = Field(
        50.0, description="strength of the pull; the published one is 50"
    )
    coupling: Literal["per_sample", "reference"] = Field(
        "per_sample", description="reference: the members of a batch influence each other"
    )

    @model_validator(mode="after")
    def _check_value(self) -> "Guidance":
        if (self.value is not None) != (self.source == "number"):
            raise ValueError(
                "source number and a value belong together: "
                + ("leave value out" if self.value is not None else "set value, within 0 and 1")
            )
        if self.value is not None and self.factor * self.value > 1:
            raise ValueError(f"value times factor is {self.factor * self.value:g}, more than 1")
        return self


class Forecast(Section):
    solver: str = Field("dpmpp", description="ddpm, ddim, dpmpp, dpmpp_sde, heun, euler, midpoint")
    steps: PositiveInt = Field(
        10, description="of the solver; ddpm with all noise steps: as published"
    )
    ensemble_members: PositiveInt = Field(8, description="forecasts of every case")
    weights: Literal["ema", "raw"] = Field(
        "ema", description="ema: the moving average; raw: as the last step left them"
    )
    cases: PositiveInt | Literal["all"] = Field(8, description="test windows, spread evenly")
    batch: PositiveInt = Field(8, description="members that a rank samples at once")
    guidance: Guidance = Guidance()


class Evaluate(Section):
    protocol: str = Field("native", description="how scores are counted, by name")
    baselines: tuple[Literal["persistence", "climatology", "extrapolation", "steps"], ...] = Field(
        ("persistence",), description="scored on the same cases; steps needs pysteps"
    )

    @model_validator(mode="after")
    def _check_baselines(self) -> "Evaluate":
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError("baselines names one twice")
        return self


class Parallel(Section):
    """How the ranks that train the denoiser share it; other stages only share samples."""

    pipeline: PositiveInt = Field(1, description="stages of the pipeline")
    pipeline_engine: Literal["folded", "mindspore"] = Field(
        "folded", description="who runs the stages; mindspore: Ascend only, not yet run on one"
    )
    shard_optimizer: bool = Field(
        False, description="ZeRO-1: data ranks share out AdamW's moments and the average"
    )


class Config(Section):
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="keys every draw: data, weights, order, noise"
    )
    data: Data = Data()
    autoencoder: Autoencoder = Autoencoder()
    denoiser: Denoiser = Denoiser()
    diffusion: Diffusion = Diffusion()
    one_pass: OnePass = OnePass()
    alignment: Alignment = Alignment()
    train_autoencoder: TrainAutoencoder = TrainAutoencoder()
    train_diffusion: TrainDiffusion = TrainDiffusion()
    train_alignment: TrainAlignment = TrainAlignment()
    forecast: Forecast = Forecast()
    evaluate: Evaluate = Evaluate()
    parallel: Parallel = Parallel()

    @property
    def latent_size(self) -> int:
        """Pixels a side of a latent frame: each VAE block but the last halves the frame."""
        return self.data.frame_size // 2 ** (len(self.autoencoder.widths) - 1)

    @property
    def window_frames(self) -> int:
        return self.data.context_frames + self.data.forecast_frames

    @property
    def is_one_pass(self) -> bool:
        """Whether a network trained on CRPS makes each member in one pass, without latents."""
        return self.diffusion.objective == "crps"

    @property
    def is_guided(self) -> bool:
        """Whether the forecasts are steered towards some mean intensity."""
        return self.forecast.guidance.source != "none"

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Config":
        factor = 2 ** (len(self.autoencoder.widths) - 1)
        if self.data.frame_size % factor:
            raise ValueError(
                f"data.frame_size {self.data.frame_size} is not a multiple of {factor}, the "
                f"reduction of autoencoder.widths with {len(self.autoencoder.widths)} blocks"
            )
        if self.forecast.steps > self.diffusion.noise_steps:
            raise ValueError(
                f"forecast.steps {self.forecast.steps} exceeds diffusion.noise_steps "
                f"{self.diffusion.noise_steps}"
            )
        if self.is_one_pass:
            self._check_one_pass()
        guidance, members = self.forecast.guidance, self.forecast.ensemble_members
        if self.is_guided and guidance.coupling == "reference" and members > self.forecast.batch:
            raise ValueError(
                f"forecast.guidance.coupling reference needs the {members} members of a case in "
                f"one batch: raise forecast.batch ({self.forecast.batch}), or use per_sample"
            )
        return self

    def _check_one_pass(self) -> None:
        side = self.one_pass.patch * 2 ** (len(self.one_pass.widths) - 1)
        if self.data.frame_size % side:
            raise ValueError(
                f"data.frame_size {self.data.frame_size} is not a multiple of {side}, the "
                "reduction of one_pass.patch and one_pass.widths"
            )
        if self.is_guided:
            raise ValueError(
                "diffusion.objective crps has no noise steps to guide: set "
                "forecast.guidance.source to none"
            )
        if self.parallel.pipeline > 1:
            raise ValueError(
                "diffusion.objective crps trains without a pipeline: set parallel.pipeline to 1"
            )
        if "context" not in self.one_pass.conditions:
            raise ValueError("one_pass.conditions must name context")
