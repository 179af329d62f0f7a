"""Checkpoints and settings of others, in and out."""

from prediff.convert.checkpoint_file import read_checkpoint, write_checkpoint
from prediff.convert.networks import Network, Weights, identify
from prediff.convert.reference import LoadReport, load_reference, to_reference

__all__ = [
    "LoadReport",
    "Network",
    "Weights",
    "identify",
    "load_reference",
    "read_checkpoint",
    "to_reference",
    "write_checkpoint",
]
