"""Samplers: one solver a file, behind :func:`sample`, :class:`Sampler`, :func:`sample_ensemble`."""

from prediff.diffusion.samplers.ensemble import sample_ensemble
from prediff.diffusion.samplers.member_noise import MemberNoise
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.samplers.sampler import Sampler, sample
from prediff.diffusion.samplers.solvers import (
    DIFFUSION_SOLVERS,
    FLOW_SOLVERS,
    SOLVERS,
    sampling_plan,
)

__all__ = [
    "DIFFUSION_SOLVERS",
    "FLOW_SOLVERS",
    "SOLVERS",
    "MemberNoise",
    "Sampler",
    "SamplingPlan",
    "sample",
    "sample_ensemble",
    "sampling_plan",
]
