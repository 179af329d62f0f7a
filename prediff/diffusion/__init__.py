"""Latent diffusion: schedules, objectives, samplers and guidance.

The functions take and return MindSpore tensors, so each part can be checked alone: the schedule
(:func:`noise_schedule`), the forward process (:func:`q_sample`), the loss (:func:`training_loss`),
one reverse step (:func:`posterior_step`) and the guidance gradient (:func:`guidance_gradient`).
"""

from prediff.diffusion.alignment_loss import AlignmentLoss
from prediff.diffusion.classifier_free import ClassifierFreeDenoiser, keyed_condition_keep
from prediff.diffusion.diffusion_loss import DiffusionLoss, training_loss, vlb_weights
from prediff.diffusion.flow_matching_loss import FlowMatchingLoss
from prediff.diffusion.guidance import AlignmentGuidance, GuidanceGradient, guidance_gradient
from prediff.diffusion.noise_schedule import SCHEDULES, NoiseSchedule, noise_schedule
from prediff.diffusion.parameterization import (
    PARAMETERIZATIONS,
    convert_prediction,
    predict_clean,
)
from prediff.diffusion.posterior import posterior_mean, posterior_step, q_sample
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
    "ClassifierFreeDenoiser",
    "DiffusionLoss",
    "FlowMatchingLoss",
    "GuidanceGradient",
    "MemberNoise",
    "NoiseSchedule",
    "Sampler",
    "StraightPath",
    "convert_prediction",
    "frame_intensity",
    "guidance_gradient",
    "keyed_condition_keep",
    "noise_schedule",
    "posterior_mean",
    "posterior_step",
    "predict_clean",
    "q_sample",
    "sample",
    "sample_ensemble",
    "sampling_plan",
    "target_intensity",
    "training_loss",
    "vlb_weights",
]
