"""What part of a network costs: operations by kind, and numbers kept for the backward pass.

A multiplication and its addition count as 2 operations; elementwise layers, norms and softmax
count none. `prediff/profiler/counted.py` counts the same on a network that runs; tests compare.
"""

from dataclasses import dataclass

TRAINING_PASSES = 3
"""Operations of a training step over those of a forward pass: each product has two gradients."""


@dataclass(frozen=True)
class Cost:
    """Of one sample's forward pass, and of what is stored."""

    convolution: float = 0.0
    """Operations of convolutions larger than one cell."""
    linear: float = 0.0
    """Operations of affine maps."""
    attention: float = 0.0
    """Operations of the products with keys and values."""
    activations: float = 0.0
    """Numbers kept for the backward pass."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.convolution + other.convolution,
            self.linear + other.linear,
            self.attention + other.attention,
            self.activations + other.activations,
        )

    @property
    def operations(self) -> float:
        return self.convolution + self.linear + self.attention
