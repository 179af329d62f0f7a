"""Ways to break a copy of the reference's small data folder, and what must be said of each."""

import h5py
import numpy as np
from radar_trees import FILE_2018, read_catalog, write_catalog


def _path(root):
    return root / "data" / FILE_2018


def _rewrite(root, vil, name="vil"):
    with h5py.File(_path(root), "w") as file:
        file[name] = vil


def remove_catalog(root):
    (root / "CATALOG.csv").unlink()


def remove_file(root):
    _path(root).unlink()


def truncate_file(root):
    content = _path(root).read_bytes()
    _path(root).write_bytes(content[: len(content) // 2])


def replace_file_by_text(root):
    _path(root).write_text("404: not found")


def rename_dataset(root):
    _rewrite(root, np.zeros((4, 16, 16, 25), np.uint8), name="ir107")


def make_float_with_nan(root):
    vil = np.zeros((4, 16, 16, 25), np.float32)
    vil[2, 3, 3, 3] = np.nan
    _rewrite(root, vil)


def make_int16(root):
    _rewrite(root, np.zeros((4, 16, 16, 25), np.int16))


def drop_time_axis(root):
    _rewrite(root, np.zeros((4, 16, 16), np.uint8))


def halve_size(root):
    _rewrite(root, np.zeros((4, 8, 8, 25), np.uint8))


def drop_rows(root):
    _rewrite(root, np.zeros((1, 16, 16, 25), np.uint8))


def set_column(name, value):
    def set_in_every_vil_row(root):
        rows = read_catalog(root)
        write_catalog(root, [r | {name: value} if r["img_type"] == "vil" else r for r in rows])

    return set_in_every_vil_row


def drop_column(name):
    def drop(root):
        write_catalog(root, [{k: v for k, v in r.items() if k != name} for r in read_catalog(root)])

    return drop


def make_catalog_binary(root):
    (root / "CATALOG.csv").write_bytes(b"\x89HDF\xff\xfe\x00")


BROKEN_CATALOG = {
    "no catalog": (remove_catalog, "expected .*CATALOG.csv"),
    "binary catalog": (make_catalog_binary, "cannot be read as a catalog"),
    "no id column": (drop_column("id"), "lacks the columns id"),
    "time in words": (set_column("time_utc", "yesterday"), "line 2: time_utc is 'yesterday'"),
    "index in words": (set_column("file_index", "first"), "line 2: file_index is 'first'"),
    "percentage in words": (set_column("pct_missing", "few"), "line 2: pct_missing is 'few'"),
    "path outside": (set_column("file_name", "../secret.h5"), "file_name is '../secret.h5'"),
}
BROKEN_FILES = {
    "missing file": (remove_file, "is missing but the catalog names it"),
    "truncated file": (truncate_file, "truncated or no HDF5 file"),
    "text file": (replace_file_by_text, "truncated or no HDF5 file"),
    "no vil": (rename_dataset, r"no dataset 'vil' \(it holds ir107\)"),
    "float with NaN": (make_float_with_nan, "vil is float32 with NaN in row 2, expected uint8"),
    "int16": (make_int16, "vil is int16, expected uint8"),
    "three axes": (drop_time_axis, r"shape \(4, 16, 16\), expected"),
    "another size": (halve_size, "[Dd]iffer.* in size|holds 25 frames of"),
    "too few rows": (
        drop_rows,
        "Event R420 is row 2 .* has 1 rows|Event R710 is row 1 .* has 1 rows",
    ),
}
BROKEN_SELECTION = {
    "no vil rows": (set_column("img_type", "ir107"), "lists no radar event of type vil"),
    "all incomplete": (set_column("pct_missing", "1.5"), "no usable event: of 10 vil rows"),
    "one id": (set_column("id", "R000"), "no usable event: of 10 vil rows"),
    "no percentage": (set_column("pct_missing", ""), "no usable event: of 10 vil rows"),
}
