"""Learning rates as a function of the step."""

import math


def warmup_cosine(
    *,
    step: int,
    total_steps: int,
    warmup_steps: int,
    peak: float,
    first_factor: float = 0.1,
    last_factor: float = 1e-3,
) -> float:
    """Return the learning rate of an optimizer step (0 is the first).

    Linear from ``first_factor * peak`` to ``peak`` at step `warmup_steps`, then half a cosine down
    to ``last_factor * peak`` at `total_steps`, and constant after that.

    Source: MODEL section 4.4, which has ``warmup_steps = round(0.1 * total_steps)``.
    """
    assert 0 <= warmup_steps <= total_steps
    if step < warmup_steps:
        return peak * (first_factor + (1 - first_factor) * step / warmup_steps)
    if step >= total_steps:
        return peak * last_factor
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * (last_factor + (1 - last_factor) * 0.5 * (1 + math.cos(math.pi * progress)))
