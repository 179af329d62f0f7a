"""YAML of unknown origin: small texts with huge promises are refused before they are built."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.errors import UserError
from prediff.config import load_config, save_config, setting
from prediff.config.bounded_yaml import LARGEST_FILE, parse_yaml

BILLION = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BILLION, "line 2.*aliases"),
        ("seed: &x 1\ndata: *x", "aliases"),
        ("[" * 100_000, "nested deeper"),
        ("{a: " * 10_000, "nested deeper"),
        ("- " * 5_000, "nested deeper"),
        ("seed: " + "9" * 5_000, "4096 characters"),
        ("seed: 1\nseed: 2", "line 2.*stands twice"),
        ("seed: !!python/object/apply:os.system [id]", "tags"),
        ("seed: !!timestamp x", "tags"),
        ("seed: 2001-99-99", "month"),
        ("seed: \x00", "not YAML"),
        ("? [1]\n: 2", "not YAML"),
    ],
)
def test_it_is_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "c.yaml"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(UserError, match="that is no configuration"):
        load_config(path)


def test_a_folder_and_bytes_that_are_no_text_say_so(tmp_path):
    with pytest.raises(UserError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"seed: \xff")
    with pytest.raises(UserError, match="no UTF-8"):
        load_config(tmp_path / "c.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\n")
    assert load_config(tmp_path / "c.yaml").seed == 3


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_gives_values_or_one_refusal(text):
    with contextlib.suppress(UserError):
        parse_yaml(text, place="here")


FOLDERS = ("radar #3", "a: b", "true", "2019-01-01", "1e3", "~", "null", "{x}", "[y", "'q'", "- z",
           '"', "*a", "&a", "!t", "%", "é", " lead", "tail ", "a\\b", "0x10", "a\tb")  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_value_that_travels_as_text_keeps_its_text(tmp_path, name):
    config = load_config(None, [setting("data.root", name)])
    assert config.data.root == Path(name)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
