"""What the network predicts: the noise, the clean data, v, or the flow's velocity.

All are linear in (x_0, noise), so each is two numbers a time step. With x_t = a x_0 + s noise:

    eps       noise                          on a noise schedule
    x0        x_0                            on a noise schedule or the straight path
    v         a noise - s x_0                on a noise schedule (a^2 + s^2 = 1)
    velocity  noise - x_0 = dx/ds            on the straight path (a + s = 1)

Where the signal is weak, eps says little of x_0: an error in it counts s/a times, which is 37 at
the noisiest step of the linear schedule, 157 of sqrt_linear, 2e4 of cosine and 6e21 of sqrt.

Source: Ho et al. 2020 (eps), Salimans and Ho 2022 (x0, v), Lipman et al. 2023 (velocity).
"""

import mindspore as ms
import numpy as np

from hpc.errors import UserError
from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.straight_path import StraightPath
from prediff.diffusion.tables import at_step, float_tensor

ForwardProcess = NoiseSchedule | StraightPath

PARAMETERIZATIONS = ("eps", "x0", "v", "velocity")


def check_parameterization(*, path: ForwardProcess, parameterization: str) -> None:
    """Raise UserError if the name is unknown or means nothing on this path."""
    if parameterization not in PARAMETERIZATIONS:
        raise UserError(
            f"parameterization '{parameterization}' is unknown: "
            f"choose one of {', '.join(PARAMETERIZATIONS)}"
        )
    on_straight_path = isinstance(path, StraightPath)
    if parameterization != "x0" and on_straight_path != (parameterization == "velocity"):
        where = "flow matching" if on_straight_path else "a noise schedule"
        usable = "velocity or x0" if on_straight_path else "eps, x0 or v"
        raise UserError(
            f"parameterization '{parameterization}' cannot be used with {where}: choose {usable}"
        )


def target_weights(*, path: ForwardProcess, parameterization: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the float64 weights ``[n]`` of x_0 and of the noise in what the network predicts."""
    check_parameterization(path=path, parameterization=parameterization)
    one = np.ones(path.num_steps)
    match parameterization:
        case "eps":
            return 0 * one, one
        case "x0":
            return one, 0 * one
        case "v":
            return -path.noise_level, path.signal
        case _:
            return -one, one


def clean_weights(*, path: ForwardProcess, parameterization: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the float64 weights ``[n]`` of x_t and of the prediction in the estimate of x_0."""
    check_parameterization(path=path, parameterization=parameterization)
    one = np.ones(path.num_steps)
    match parameterization:
        case "eps":
            return 1 / path.signal, -path.noise_level / path.signal
        case "x0":
            return 0 * one, one
        case "v":
            return path.signal, -path.noise_level
        case _:
            return one, -path.noise_level


def predict_clean(
    *,
    path: ForwardProcess,
    noisy: ms.Tensor,
    step: ms.Tensor,
    prediction: ms.Tensor,
    parameterization: str = "eps",
) -> ms.Tensor:
    """Return the estimate of x_0 that a prediction stands for, the shape of ``noisy``.

    Args:
        noisy: x_t, ``[B, ...]``.
        step: time step of each sample, int ``[B]``.
        prediction: the network's output, ``[B, ...]``.
    """
    from_noisy, from_prediction = clean_weights(path=path, parameterization=parameterization)
    return (
        at_step(float_tensor(from_noisy), step, noisy) * noisy
        + at_step(float_tensor(from_prediction), step, noisy) * prediction
    )


def convert_prediction(
    *,
    path: ForwardProcess,
    noisy: ms.Tensor,
    step: ms.Tensor,
    prediction: ms.Tensor,
    source: str,
    target: str,
) -> ms.Tensor:
    """Return a prediction made as ``source`` expressed as ``target``, the shape of ``noisy``.

    Arguments are those of :func:`predict_clean`. The noise is what x_t has beside x_0.
    """
    of_clean, of_noise = target_weights(path=path, parameterization=target)
    clean = predict_clean(
        path=path, noisy=noisy, step=step, prediction=prediction, parameterization=source
    )
    weight_of_noisy = of_noise / path.noise_level
    weight_of_clean = of_clean - of_noise * path.signal / path.noise_level
    return (
        at_step(float_tensor(weight_of_noisy), step, noisy) * noisy
        + at_step(float_tensor(weight_of_clean), step, noisy) * clean
    )
