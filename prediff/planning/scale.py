"""A training from one node to thousands of devices, on paper: step, failures, days.

Each size takes the best mesh of `prediff.planning.plan`; what a plan leaves out and large clusters
do not, stragglers, failures and checkpoints, is added here from the assumptions that
`SCALE_ASSUMPTIONS` names. A prediction: nothing here has run on silicon.
"""

import math
from dataclasses import dataclass

from hpc.errors import UserError
from prediff.config import Config
from prediff.config.trainings import Training
from prediff.planning.plan import MeshPlan, plan, state_bytes

DEVICE_HOURS_PER_FAILURE = 54 * 24 * 16384 / 419
"""Llama 3 405B (arXiv:2407.21783, section 3.3.4): 419 unexpected stops of 16 384 devices in 54
days. No such figure of NPUs is public."""

STEP_VARIATION = 0.01
"""Standard deviation of a rank's step time over its mean, assumed."""

COPY_RATE = 2e9
"""Bytes per second at which a rank copies its state to the host, assumed."""

RESTART_SECONDS = 300.0
"""From a failure to the next step: found, requeued, started, graphs loaded. Assumed."""

LARGEST = 8192

SCALE_ASSUMPTIONS = (
    "a step waits for its slowest rank: 1 + {variation:.0%} x sqrt(2 ln ranks), assumed",
    "one failure per {hours:,.0f} device hours (Llama 3, arXiv:2407.21783); {restart:.0f} s to "
    "restart, assumed",
    "checkpoints as often as costs least (Daly 2006); training waits for the copy at "
    "{copy:.0f} GB/s, assumed",
    "beyond one sample per data rank the global batch grows with the devices: fewer, larger steps "
    "over the same samples, whose effect on the loss is not predicted",
)


@dataclass(frozen=True, kw_only=True)
class ScalePoint:
    """A training on one number of devices."""

    devices: int
    global_batch: int
    mesh: MeshPlan
    step_seconds: float
    """Stragglers included."""
    mfu: float
    failures_per_day: float
    checkpoint_minutes: float
    """Between two checkpoints."""
    goodput: float
    """Share of the time that is spent on steps which are kept."""
    days: float
    """Of the whole training, failures included."""


def scale_study(
    *, config: Config, samples: int, per_node: int = 8, largest: int = LARGEST, device: str
) -> tuple[ScalePoint, ...]:
    """Return the training on `per_node` devices and each doubling up to `largest`.

    Args:
        config: of the run.
        samples: windows that the whole training sees.
        per_node: devices of a node.
        largest: devices at the most.
        device: name in `prediff.planning.plan.DEVICES`.

    Raises:
        UserError: no mesh fits, or the sizes are not sizes.
    """
    if largest < per_node:
        raise UserError(f"--scale {largest} is less than one node of {per_node} devices")
    sizes = [per_node * 2**k for k in range(int(math.log2(largest // per_node)) + 1)]
    return tuple(
        _point(config, samples=samples, nodes=size // per_node, per_node=per_node, device=device)
        for size in sizes
    )


def windows_seen(settings: Training, *, windows: int) -> int:
    """Return the windows that a whole training sees, of so many in an epoch."""
    amount, unit = settings.duration.split()
    return int(amount) * (windows if unit == "epochs" else settings.global_batch)


def _point(config: Config, *, samples: int, nodes: int, per_node: int, device: str) -> ScalePoint:
    devices, batch = nodes * per_node, config.train_diffusion.global_batch
    options = [
        option
        for size in {batch, max(batch, devices)}
        for option in _meshes(config, batch=size, nodes=nodes, per_node=per_node, device=device)
    ]
    if not options:
        raise UserError(
            f"no mesh of {devices} {device} fits: lower train_diffusion.micro_batch or set "
            "denoiser.recompute"
        )
    mesh = max(options, key=lambda option: _batch(option) / option.step_seconds)
    step = mesh.step_seconds * (1 + STEP_VARIATION * math.sqrt(2 * math.log(devices)))
    copy = max(state_bytes(rank.parameters, sharing=1) for rank in mesh.ranks) / COPY_RATE
    between_failures = DEVICE_HOURS_PER_FAILURE * 3600 / devices
    interval = math.sqrt(2 * copy * between_failures)
    goodput = 1 / (
        (1 + copy / interval) * (1 + (interval / 2 + RESTART_SECONDS) / between_failures)
    )
    return ScalePoint(
        devices=devices,
        global_batch=_batch(mesh),
        mesh=mesh,
        step_seconds=step,
        mfu=mesh.mfu * mesh.step_seconds / step,
        failures_per_day=86400 / between_failures,
        checkpoint_minutes=interval / 60,
        goodput=goodput,
        days=samples / _batch(mesh) * step / goodput / 86400,
    )


def _meshes(
    config: Config, *, batch: int, nodes: int, per_node: int, device: str
) -> list[MeshPlan]:
    """Return the meshes that fit, none where the batch or the memory allows none."""
    for stages in (1, 2, 4, 8):
        sized = config.model_copy(
            update={
                "train_diffusion": config.train_diffusion.model_copy(
                    update={"global_batch": batch}
                ),
                "parallel": config.parallel.model_copy(update={"pipeline": stages}),
            }
        )
        try:
            found = plan(config=sized, nodes=nodes, per_node=per_node, device=device)
        except UserError:  # with so many stages; it may work with more
            continue
        return [option for option in found.meshes if option.fits]
    return []


def _batch(option: MeshPlan) -> int:
    return option.mesh.data * option.micro_batches * option.samples
