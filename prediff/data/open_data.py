"""The data of a run: where they are, how they are split, and opening a split."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from prediff.config import Config
from prediff.data.catalog import CATALOG_NAME, read_rows
from prediff.data.dataset import RadarWindows, open_windows
from prediff.data.fixed_split import NAME, FixedSplit, read_split
from prediff.data.quantity import Quantity, RainRelation, quantity_named
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


def run_quantity(config: Config) -> Quantity:
    """Return what a run learns and forecasts."""
    return quantity_named(config.data.quantity)


def run_relation(config: Config) -> RainRelation:
    """Return a run's relation between reflectivity and rain."""
    return RainRelation(a=config.data.rain_relation.a, b=config.data.rain_relation.b)


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
            quantity=config.data.quantity,
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
        usable = rules.usable(read_rows(root))
        return widest_gap([event.time for event in usable]) if usable else rules.test_after
    return given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given


def open_split(
    folder: RunFolder,
    config: Config,
    split: Split,
    *,
    check_files: bool = True,
    fixes_split: bool = False,
) -> RadarWindows:
    """Open one split of the run's data.

    Which events belong to it was decided when the run first trained on its data.

    Args:
        check_files: as `open_windows` takes it.
        fixes_split: whether the parts are written into the run, as a training does.

    Raises:
        UserError: no data, no event for the split, damaged files, frames of another size, or of a
            quantity that does not become the run's.
    """
    root = data_root(folder, config)
    size = config.data.frame_size
    return open_windows(
        root,
        split=split,
        selection=_fixed(folder, root, config, keep=fixes_split),
        frame_size=(size, size),
        quantity=run_quantity(config),
        relation=run_relation(config),
        check_files=check_files,
    )


def _fixed(folder: RunFolder, root: Path, config: Config, *, keep: bool) -> Selection:
    """Return the rules with the parts that the run keeps; `keep` writes them if it has none.

    A split of other rules, or of events that are all gone, was another data set's.
    """
    rules = selection(root, config)
    said = {
        "split": config.data.split,
        "validation_fraction": config.data.validation_fraction,
        "test_from": str(config.data.test_from),
        "seed": config.seed,
    }
    usable = rules.usable(read_rows(root))
    kept = read_split(folder.path / NAME)
    if kept is None or kept.rules != said or not any(e.id in kept.part_of for e in usable):
        kept = FixedSplit(rules=said, part_of=rules.parts(usable))
        if keep and folder.path.is_dir() and usable:
            with contextlib.suppress(OSError):  # a run that may only be read
                kept.write(folder.path / NAME)
    return Selection(**{**vars(rules), "part_of": kept.part_of})
