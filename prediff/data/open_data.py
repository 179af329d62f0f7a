"""The data of a run: where they are, how they are split, and opening a split."""

from datetime import UTC, datetime
from pathlib import Path

from prediff.config import Config
from prediff.data.catalog import CATALOG_NAME, read_vil_rows
from prediff.data.dataset import RadarWindows, open_windows
from prediff.data.selection import SPLITS, Selection, Split
from prediff.data.split_date import widest_gap
from prediff.data.synthesize import RECIPE_NAME, Recipe, synthesize
from prediff.run_folder import RunFolder


def data_root(folder: RunFolder, config: Config) -> Path:
    """Return the user's data, or the run's own synthetic ones."""
    return config.data.root or folder.data


def is_synthetic(folder: RunFolder, config: Config) -> bool:
    """Return whether the run's data are storms that a program made up."""
    return config.data.root is None or (config.data.root / RECIPE_NAME).exists()


def make_synthetic_data(folder: RunFolder, config: Config) -> bool:
    """Make the synthetic storms of a run without data; return whether anything was made."""
    if config.data.root is not None:
        return False
    amounts = config.data.synthetic
    events = amounts.train_events + amounts.test_events
    return synthesize(
        folder.data,
        recipe=Recipe(
            events=events,
            size=config.data.frame_size,
            seed=config.seed,
            test_fraction=amounts.test_events / events,
        ),
    )


def selection(root: Path, config: Config) -> Selection:
    """Return the rules that turn the catalog into windows.

    Raises:
        UserError: there is no catalog, or it leaves no test set.
    """
    rules = Selection(
        length=config.window_frames,
        stride=config.data.window_stride,
        split_rule=config.data.split,
        validation_fraction=config.data.validation_fraction,
        split_seed=config.seed,
    )
    return Selection(**{**vars(rules), "test_after": _test_boundary(root, config, rules)})


def check_data(folder: RunFolder, config: Config) -> None:
    """Open every split of data that are there, so that a job does not start in vain.

    Raises:
        UserError: data are missing, broken, too few, or of another size.
    """
    if config.data.root is None and not (folder.data / CATALOG_NAME).exists():
        return
    for split in SPLITS:
        open_split(folder, config, split).close()


def _test_boundary(root: Path, config: Config, rules: Selection) -> datetime:
    given = config.data.test_from
    if given == "auto":
        usable = rules.usable(read_vil_rows(root))
        return widest_gap([event.time for event in usable]) if usable else rules.test_after
    return given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given


def open_split(folder: RunFolder, config: Config, split: Split) -> RadarWindows:
    """Open one split of the run's data.

    Raises:
        UserError: no data, no event for the split, damaged files, or frames of another size.
    """
    root = data_root(folder, config)
    size = config.data.frame_size
    return open_windows(
        root, split=split, selection=selection(root, config), frame_size=(size, size)
    )
