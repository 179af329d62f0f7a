"""The engine: tensors, ranks, files and clocks. It knows nothing of the science."""

from hpc.environment import prepare_environment

prepare_environment()
