"""The sections of a configuration that describe how each network is trained."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prediff.config.section import (
    Betas,
    Clip,
    Duration,
    Fraction,
    GlobalBatch,
    LearningRate,
    PositiveInt,
    Section,
    WeightDecay,
)


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
    pictured_forecasts: Annotated[int, Field(ge=0)] = Field(
        2,
        description="validation windows whose forecasts TensorBoard shows at every validation; "
        "0: none, which saves compiling the sampler",
    )


class TrainAlignment(Training):
    duration: Duration = "300 steps"
    global_batch: GlobalBatch = 16
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 1e-2
