"""Guidance of a run's forecasts: which intensity is asked for, and what such forecasts are called.

Letters: T frames, H, W pixels.
"""

import numpy as np

from hpc.checkpoint.format import Checkpoint, read_state
from hpc.errors import UserError
from prediff.config import Config
from prediff.diffusion import AlignmentGuidance, target_intensity
from prediff.run_folder import ALIGNMENT, RunFolder
from prediff.trained_networks import (
    load_alignment,
    newest_checkpoint,
    weights_sha256,
)
from prediff.training.alignment import alignment_schedule

MODEL = "PreDiff"


def system_name(config: Config) -> str:
    """Return what tables and pictures call the forecasts; one that saw the truth says so."""
    guidance = config.forecast.guidance
    factor = "" if guidance.factor == 1 else f" x {guidance.factor:g}"
    match guidance.source:
        case "none":
            return f"{MODEL}, one pass" if config.is_one_pass else MODEL
        case "oracle":
            return f"{MODEL}, oracle-guided{factor} (uses the truth)"
        case "number":
            return f"{MODEL}, guided to intensity {guidance.value:g}{factor}"
        case source:
            return f"{MODEL}, guided by {source}{factor}"


def guidance_provenance(folder: RunFolder, config: Config) -> dict[str, str | int | float]:
    """Return what the guidance of a forecast depends on, as the attributes of its file.

    Raises:
        UserError: guidance without a trained alignment network.
    """
    settings = config.forecast.guidance
    if not config.is_guided:
        return {"guidance": "none"}
    checkpoint = newest_checkpoint(folder, ALIGNMENT)
    found: dict[str, str | int | float] = {
        "guidance": settings.source,
        "guidance_factor": settings.factor,
        "guidance_scale": settings.scale,
        "guidance_coupling": settings.coupling,
        "alignment_step": read_state(checkpoint)["step"],
        "alignment_sha256": weights_sha256(checkpoint, "model"),
    }
    if settings.value is not None:
        found["guidance_value"] = settings.value
    if settings.source == "oracle":
        found["guidance_note"] = "steered by the true future: a demonstration, not a forecast"
    return found


def load_guidance(
    folder: RunFolder, config: Config, *, latent_scale: float
) -> tuple[AlignmentGuidance, Checkpoint]:
    """Return what the sampler needs to guide, and the alignment network's checkpoint.

    Args:
        latent_scale: of the denoiser's latents.

    Raises:
        UserError: no alignment network, or one of other latents than the denoiser's.
    """
    alignment, checkpoint = load_alignment(folder, config)
    its_scale = checkpoint.state["latent_scale"]
    if not np.isclose(its_scale, latent_scale, rtol=1e-6):
        raise UserError(
            f"the alignment network reads latents scaled by {its_scale:g} and the denoiser makes "
            f"latents scaled by {latent_scale:g}: train or import both with one "
            "diffusion.latent_scale"
        )
    settings = config.forecast.guidance
    guidance = AlignmentGuidance(
        alignment,
        schedule=alignment_schedule(config),
        scale=settings.scale,
        coupling=settings.coupling,
    )
    return guidance, checkpoint


def requested_intensity(
    config: Config, *, context_THW1: np.ndarray, future_THW1: np.ndarray, climatology: float | None
) -> float:
    """Return the mean intensity in [0, 1] that a case's forecast is steered to.

    Args:
        context_THW1: observed frames.
        future_THW1: the true future, looked at by the source ``oracle`` alone.
        climatology: mean intensity of the training set, None if it is not known.

    Raises:
        UserError: climatology of an imported network, or frames without a valid pixel.
    """
    settings = config.forecast.guidance
    value = settings.value
    if settings.source == "climatology":
        if climatology is None:
            raise UserError(
                "the imported alignment network knows no climatology: take "
                "forecast.guidance.source=number and a value"
            )
        value = climatology
    oracle = settings.source == "oracle"
    return float(
        target_intensity(
            source=settings.source,
            lead_frames=config.data.forecast_frames,
            context=context_THW1[None],
            future=future_THW1[None] if oracle else None,
            value=value,
            factor=settings.factor,
        )[0]
    )
