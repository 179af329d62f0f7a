"""Latent diffusion: schedules, objectives, samplers and guidance."""

from prediff.diffusion.alignment_loss import AlignmentLoss
from prediff.diffusion.diffusion_loss import DiffusionLoss, vlb_weights
from prediff.diffusion.guidance import AlignmentGuidance, GuidanceGradient, guidance_gradient
from prediff.diffusion.noise_schedule import SCHEDULES, NoiseSchedule, noise_schedule
from prediff.diffusion.parameterization import (
    PARAMETERIZATIONS,
    convert_prediction,
    predict_clean,
)
from prediff.diffusion.samplers import (
    SOLVERS,
    MemberNoise,
    Sampler,
    sample,
    sample_ensemble,
    sampling_plan,
)
from prediff.diffusion.straight_path import StraightPath
from prediff.diffusion.target_intensity import (
    REFERENCE_FACTOR,
    TARGET_SOURCES,
    frame_intensity,
    target_intensity,
)

__all__ = [
    "PARAMETERIZATIONS",
    "REFERENCE_FACTOR",
    "SCHEDULES",
    "SOLVERS",
    "TARGET_SOURCES",
    "AlignmentGuidance",
    "AlignmentLoss",
    "DiffusionLoss",
    "GuidanceGradient",
    "MemberNoise",
    "NoiseSchedule",
    "Sampler",
    "StraightPath",
    "convert_prediction",
    "frame_intensity",
    "guidance_gradient",
    "noise_schedule",
    "predict_clean",
    "sample",
    "sample_ensemble",
    "sampling_plan",
    "target_intensity",
    "vlb_weights",
]
