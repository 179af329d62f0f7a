"""Configuration: frozen pydantic models, a YAML file, and ``--set a.b=c`` on top.

The defaults written here are the tiny configuration (minutes on two cores); `configs/tiny.yaml`
spells out the same values. A key left out of a file takes the value that stands here; a key that
stands in a file and not here is an error that names the nearest valid one.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prediff.config.networks import Alignment, Autoencoder, Denoiser, Diffusion, OnePass
from prediff.config.section import PositiveInt, Section
from prediff.config.trainings import TrainAlignment, TrainAutoencoder, TrainDiffusion

QuantityName = Literal["vil", "reflectivity", "rain_rate"]


class Synthetic(Section):
    """The storms that are made when `data.root` is not given."""

    train_events: PositiveInt = Field(48, description="events of 25 frames to train on")
    test_events: PositiveInt = Field(8, description="later events, for the test")


class RainRelation(Section):
    """Z = a R**b, Z in mm6/m3 and R in mm/h; turns reflectivity and rain into each other."""

    a: Annotated[float, Field(gt=0, description="factor of the relation")] = 200.0
    b: Annotated[float, Field(gt=0, description="exponent of the relation")] = 1.6


class Data(Section):
    root: Path | None = Field(None, description="SEVIR-LR tree; null: synthetic storms")
    quantity: QuantityName = Field(
        "vil", description="what is learned and forecast: vil, reflectivity (dBZ), rain_rate (mm/h)"
    )
    rain_relation: RainRelation = RainRelation()
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
    split: Literal["by_event", "by_day", "by_group", "by_sequence"] = Field(
        "by_event",
        description="what stays on one side: an event, a day, the catalog's group; by_sequence is "
        "the reference's, whose windows overlap",
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of the training events that validate instead"
    )


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
