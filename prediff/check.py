"""Everything of a job that can be refused, refused before its first step and before it writes.

A mistake in the forecast's solver must not come to light after the days that the networks train.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from hpc.checkpoint.format import SUFFIX
from hpc.environment import has_npu
from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.op import unsupported_shape
from prediff.config import Config
from prediff.config.networks import Alignment, Denoiser
from prediff.data.open_data import check_data, open_split
from prediff.diffusion import sampling_plan
from prediff.diffusion.parameterization import check_parameterization
from prediff.diffusion.samplers.sampler import check_conditioning
from prediff.evaluation.evaluate import check_evaluation, check_protocol
from prediff.latents.cache import open_latents
from prediff.models.alignment_cost import alignment_cost
from prediff.models.alignment_network import READOUT_GROUPS
from prediff.models.attention_patterns import attention_pattern
from prediff.models.denoiser_cost import DenoiserCost
from prediff.models.levels import plan_levels
from prediff.run_folder import TRAININGS, RunFolder
from prediff.trained_networks import (
    ALIGNMENT,
    AUTOENCODER,
    DIFFUSION,
    newest_checkpoint,
    weights_group,
)
from prediff.training.diffusion_network import diffusion_path
from prediff.training.task import training_task
from prediff.verification.baselines import import_pysteps

MOST = {
    "data.frame_size": 32_768,
    "data.context_frames": 10_000,
    "data.forecast_frames": 10_000,
    "autoencoder.latent_channels": 100_000,
    "autoencoder.layers_per_block": 1_000,
    "diffusion.noise_steps": 1_000_000,
}
"""Far above any network of ours: beyond them even the check would take for ever."""
MOST_BLOCKS = 1_000
WIDEST = 100_000
_DISCRIMINATOR_STRIDES = (2, 2, 2, 1, 1)


def check_job(
    folder: RunFolder,
    config: Config,
    *,
    ranks: int,
    trains: Collection[str] = TRAININGS,
    does: Collection[str] = (),
) -> None:
    """Refuse a job that would fail later.

    Args:
        folder: of the run; nothing is written there.
        ranks: that will do it.
        trains: the trainings among its tasks.
        does: its tasks, where it does not begin with the first one: what they need must be there.

    Raises:
        UserError: settings that do not go together, data or ranks that cannot do, or a task whose
            prerequisite is missing; it names the setting or the command.
    """
    check_settings(config, aligns=config.is_guided or ALIGNMENT in does)
    if "steps" in config.evaluate.baselines:
        import_pysteps()
    check_ranks(config, ranks=ranks, trains=trains)
    check_data(folder, config)
    check_prerequisites(folder, config, does=does)


def check_settings(
    config: Config, *, aligns: bool | None = None, on_npu: bool | None = None
) -> None:
    """Refuse settings from which one of the networks, or a later task, could not be made.

    Args:
        aligns: whether the alignment network is needed; None: if the forecasts are guided.
        on_npu: whether the job runs on NPUs; None looks at this host.

    Raises:
        UserError: naming the section.
    """
    on_npu = has_npu() if on_npu is None else on_npu
    _check_sizes(config)
    if config.is_one_pass:
        with _section("one_pass"):
            _check_one_pass(config)
    else:
        aligns = config.is_guided if aligns is None else aligns
        _check_latent_diffusion(config, aligns=aligns, on_npu=on_npu)
    with _section("evaluate"):
        check_protocol(config)


def check_ranks(config: Config, *, ranks: int, trains: Collection[str] = TRAININGS) -> None:
    """Refuse a number of ranks that the global batches or the network do not divide into.

    Raises:
        UserError: naming the setting, and numbers that work.
    """
    for name in trains:
        task = training_task(name, config)
        if task.is_wanted(config):
            with _section(f"train_{task.name}"):
                task.recipe().parallelize(config, ranks=ranks)


def check_prerequisites(folder: RunFolder, config: Config, *, does: Collection[str]) -> None:
    """Refuse a task whose networks, latents or forecasts are not there.

    Args:
        does: names of tasks.

    Raises:
        UserError: naming the command that makes what is missing.
    """
    if {"latents", DIFFUSION, ALIGNMENT, "forecast"} & set(does) and not config.is_one_pass:
        newest_checkpoint(folder, AUTOENCODER)
    if {DIFFUSION, ALIGNMENT} & set(does) and not config.is_one_pass:
        with open_split(folder, config, "train") as windows:
            for reader in open_latents(folder, config, windows):
                reader.close()
    if "forecast" in does:
        group = weights_group(config.forecast.weights)
        checkpoint = newest_checkpoint(folder, DIFFUSION)
        if not (checkpoint / f"{group}{SUFFIX}").is_file():
            raise UserError(
                f"{checkpoint} holds no {config.forecast.weights} weights: set forecast.weights=raw"
            )
        if config.is_guided:
            newest_checkpoint(folder, ALIGNMENT)
    if "evaluation" in does:
        check_evaluation(folder, config)


@contextmanager
def _section(name: str) -> Iterator[None]:
    """Put the section's name before a refusal; one of numbers without bound says so."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except (OverflowError, MemoryError):
        raise UserError(f"{name}: numbers that no network has: lower them") from None


def _check_sizes(config: Config) -> None:
    for key, most in MOST.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if value > most:
            raise UserError(f"{key} {value} is more than {most}: lower it")
    networks = {"denoiser": config.denoiser, "alignment": config.alignment}
    for section, settings in networks.items():
        if sum(settings.depths) > MOST_BLOCKS:
            raise UserError(f"{section}.depths are more than {MOST_BLOCKS} blocks: lower them")
    if config.one_pass.blocks > MOST_BLOCKS:
        raise UserError(f"one_pass.blocks are more than {MOST_BLOCKS}: lower them")
    widths = {
        "autoencoder.widths": max(config.autoencoder.widths, default=0),
        "denoiser.base_width": config.denoiser.base_width,
        "alignment.base_width": config.alignment.base_width,
        "one_pass.widths": max(config.one_pass.widths, default=0),
        "train_autoencoder.adversarial.base_width": config.train_autoencoder.adversarial.base_width,
    }
    for key, value in widths.items():
        if not 0 < value <= WIDEST:
            raise UserError(f"{key}: {value} is not between 1 and {WIDEST}")


def _check_latent_diffusion(config: Config, *, aligns: bool, on_npu: bool) -> None:
    with _section("autoencoder"):
        _check_autoencoder(config)
    with _section("train_autoencoder"):
        _check_discriminator(config)
    with _section("denoiser"):
        frames = config.window_frames
        _check_earthformer(config, config.denoiser, frames=frames, on_npu=on_npu)
        DenoiserCost(config).total()
    if aligns:
        with _section("alignment"):
            frames = config.data.forecast_frames
            _check_earthformer(config, config.alignment, frames=frames, on_npu=on_npu)
            alignment_cost(config)
    with _section("diffusion"):
        path = diffusion_path(config)
        predicts = config.diffusion.parameterization
        check_parameterization(path=path, parameterization=predicts)
        if config.diffusion.noise_schedule == "straight" and config.diffusion.variational_weight:
            raise UserError("flow matching has no variational term: set variational_weight to 0")
    with _section("forecast"):
        steps, solver = config.forecast.steps, config.forecast.solver
        plan = sampling_plan(solver=solver, schedule=path, steps=steps)
        check_conditioning(
            plan, schedule=path, parameterization=predicts, solver=solver, steps=steps
        )


def _check_one_pass(config: Config) -> None:
    groups = config.one_pass.norm_groups
    for width in config.one_pass.widths:
        if width % groups:
            raise UserError(
                f"width {width} is not a multiple of norm_groups {groups}: change either"
            )


def _check_autoencoder(config: Config) -> None:
    groups = config.autoencoder.norm_groups
    for width in config.autoencoder.widths:
        if width % groups:
            raise UserError(
                f"width {width} is not a multiple of norm_groups {groups}: change either"
            )


def _check_discriminator(config: Config) -> None:
    if config.train_autoencoder.adversarial.start_step is None:
        return
    side = config.data.frame_size
    for stride in _DISCRIMINATOR_STRIDES:
        side = (side - 2) // stride + 1
    if side < 1:
        raise UserError(
            f"the adversary's five convolutions leave nothing of frames of "
            f"{config.data.frame_size} pixels: leave adversarial.start_step null"
        )


def _check_earthformer(
    config: Config, settings: Denoiser | Alignment, *, frames: int, on_npu: bool
) -> None:
    if settings.precision == "bfloat16" and not on_npu:
        raise UserError(
            "precision bfloat16 has no operators on CPU hosts: use float32, or float16 to try"
        )
    levels = plan_levels(
        grid=(frames, config.latent_size, config.latent_size),
        base_width=settings.base_width,
        depths=list(settings.depths),
        num_heads=settings.num_heads,
        width_growth=settings.width_exponent,
    )
    if settings.base_width < 2:
        raise UserError("base_width must be 2 or more: the embedding of the noise step halves it")
    if isinstance(settings, Alignment) and levels[-1].dim % min(levels[-1].dim, READOUT_GROUPS):
        raise UserError(
            f"the last level has {levels[-1].dim} channels, which {READOUT_GROUPS} groups of its "
            "readout do not divide: change base_width or depths"
        )
    for level in levels:
        pattern = attention_pattern(settings.attention_pattern, level.grid)
        for size, strategy, shift in zip(*pattern, strict=True):
            geometry = cuboid_geometry(
                data=level.grid,
                cuboid_size=size,
                shift_size=shift,
                strategy=strategy,
                padding=settings.padding,
            )
            reason = unsupported_shape(geometry, level.dim // settings.num_heads)
            if reason and settings.attention_backend not in ("auto", "reference"):
                raise UserError(
                    f"attention_backend {settings.attention_backend!r}: {reason}; choose 'auto'"
                )
