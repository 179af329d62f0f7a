"""`prediff config` explains every key, and `--version` says what is installed."""

import pytest
from typer.testing import CliRunner

from hpc.errors import UserError
from prediff.cli import app
from prediff.config import Config
from prediff.config.described import described_keys


def run(*words: str) -> str:
    return CliRunner().invoke(app, words, catch_exceptions=False, env={"COLUMNS": "80"}).output


def test_every_key_says_what_it_means():
    assert not [key.name for key in described_keys() if not key.meaning]


def test_every_key_shows_its_default_as_the_command_line_takes_it():
    keys = list(described_keys())
    again = Config()
    for key in keys:
        value = again
        for part in key.name.split("."):
            value = getattr(value, part)
        shown = key.default.strip("[]").replace("true", "True").replace("null", "None")
        assert shown.replace("false", "False").split(", ")[0] in str(value)


def test_the_command_shows_all_keys_whole_at_80_columns():
    lines = run("config").splitlines()
    for key in described_keys():
        assert any(line.startswith(f"{key.name}=") for line in lines)


def test_words_choose_keys_and_values_come_from_the_overrides():
    output = run("config", "gradient", "--set", "train_diffusion.gradient_clip=0.5")
    assert "train_diffusion.gradient_clip=0.5\n" in output
    assert "default 1.0" in " ".join(output.split())
    assert "frame_size" not in output
    with pytest.raises(UserError, match="no key with zebra"):
        run("config", "zebra")


def test_bounds_and_choices_are_named():
    found = {key.name: key.allowed for key in described_keys()}
    assert found["forecast.weights"] == "ema | raw"
    assert found["forecast.cases"] == "whole number ≥ 1 or all"
    assert found["train_diffusion.ema_decay"] == "number ≥ 0 < 1"
    assert found["autoencoder.widths"] == "list of whole number ≥ 1"


def test_the_version_names_the_package_and_mindspore():
    assert run("--version").startswith("prediff-hpc ")
    assert "mindspore 2." in run("--version")
