"""Where everything of a run lives, and the rule that a run keeps its configuration."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hpc.checkpoint.seal import SEAL, read_seal
from hpc.errors import UserError
from prediff.config import Config, differing_keys, load_config, save_config, setting
from prediff.hub import fetch, is_hub_name
from prediff.names import is_name, join_inside

RUNS = Path("runs")
AUTOENCODER, DIFFUSION, ALIGNMENT = TRAININGS = ("autoencoder", "diffusion", "alignment")
"""The tasks that train, by the names of their folders; `prediff.training.task` says the rest."""
FROZEN_SECTIONS = (
    "seed",
    "data",
    "autoencoder",
    "denoiser",
    "diffusion",
    "one_pass",
    "alignment",
    *(f"train_{task}" for task in TRAININGS),
)
CHANGEABLE_KEYS = (
    "micro_batch",
    "log_every",
    "validate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "stop_after_bad_steps",
    "recompute",
    "forecast_noise",
    "attention_backend",
    "pictured_forecasts",
)


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, ``runs/NAME``, and from where its training goes on."""

    path: Path
    resume: str = "auto"
    """``auto`` (the newest whole checkpoint), ``none`` (the first step), or a checkpoint's path."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def latents(self) -> Path:
        return self.path / "latents"

    @property
    def forecast(self) -> Path:
        return self.path / "forecast"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    def events(self, stage: str) -> Path:
        """TensorBoard events of a stage."""
        return self.path / stage

    def checkpoints(self, stage: str) -> Path:
        return self.path / stage / "checkpoints"


def existing_run(name: str, *, what: str) -> RunFolder:
    """Return the run that is named, without making anything.

    Args:
        what: gave the name, such as ``--name``.

    Raises:
        UserError: the name is no folder name, or there is no such run.
    """
    folder = RunFolder(join_inside(RUNS, name, what=what))
    if not folder.config.is_file():
        raise UserError(f"no run {name} in {RUNS}/: `prediff run --name {name}` makes it")
    return folder


def find_run(run: str | Path) -> RunFolder:
    """Return the folder of a run that is named by path, or by its name below ``runs/``.

    An exported model is such a folder too, and so is one of the hub (``hf:OWNER/NAME@REVISION``).

    Raises:
        UserError: there is none, or it is an export that was changed.
    """
    places = [fetch(str(run)) if is_hub_name(str(run)) else Path(run)]
    if is_name(str(run)):
        places.append(RUNS / run)
    for path in places:
        if (path / SEAL).is_file():
            read_seal(path)
        if (path / "config.yaml").is_file():
            return RunFolder(path.resolve())
    raise UserError(
        f"no run at {' or '.join(map(str, places))}: a run's folder holds config.yaml and "
        "checkpoints"
    )


Check = Callable[[RunFolder, Config], None]


def open_run(
    *,
    name: str,
    config: Path | None,
    data: Path | None,
    overrides: Iterable[str],
    resume: str = "auto",
    save: bool = True,
    must_exist: bool = False,
    check: Check | None = None,
) -> tuple[RunFolder, Config]:
    """Return the run's folder and its resolved configuration, and save the configuration there.

    Without `config` an existing run goes on with its own; `data` and `overrides` win over both.
    With several ranks only one may save.

    Args:
        must_exist: a new run is refused: what the command needs cannot be there.
        check: raises UserError for what cannot be done, before it is saved: the next attempt must
            not inherit it.

    Raises:
        UserError: the name is no folder name, a setting is wrong, or the run was made with another
            configuration and would not continue with this one; or of `check`.
    """
    folder = RunFolder(join_inside(RUNS, name, what="--name"), resume=resume)
    if must_exist:
        existing_run(name, what="--name")
    texts = list(overrides)
    if data is not None:
        texts.append(setting("data.root", str(data.resolve())))
    saved = folder.config if folder.config.exists() else None
    resolved = load_config(config or saved, texts)
    if saved is not None:
        _refuse_another_configuration(folder, load_config(saved), resolved)
    if save:
        if check is not None:
            check(folder, resolved)
        save_run(folder, resolved)
    return folder, resolved


def save_run(folder: RunFolder, config: Config) -> None:
    """Write a run's configuration, unless it stands there.

    Raises:
        UserError: the folder cannot be made or written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if not folder.config.exists() or load_config(folder.config) != config:
            save_config(config, folder.config)
    except OSError as error:
        raise UserError(f"cannot write {folder.path}: {error.strerror or error}") from error


def _refuse_another_configuration(folder: RunFolder, old: Config, new: Config) -> None:
    changed = [
        text
        for text in differing_keys(old, new, FROZEN_SECTIONS)
        if text.split(":", 1)[0].rsplit(".", 1)[-1] not in CHANGEABLE_KEYS
    ]
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise UserError(
            f"{folder.path} was made with another configuration: {'; '.join(changed[:3])}{more}; "
            "choose another --name, or remove the folder"
        )
