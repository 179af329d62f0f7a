"""Configurations: what a user writes, and what is said when it is wrong."""

import re
from pathlib import Path

import pytest
import yaml

from hpc.errors import UserError
from prediff.config import Config, differing_keys, load_config, save_config

CONFIGS = Path(__file__).parents[3] / "configs"


def flat(values, prefix=""):
    keys = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        keys |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return keys


def test_the_tiny_file_spells_out_the_embedded_default():
    assert load_config(CONFIGS / "tiny.yaml") == Config()
    written = flat(yaml.safe_load((CONFIGS / "tiny.yaml").read_text()))
    assert set(written) == set(flat(Config().model_dump(mode="json")))


def test_the_published_file_leaves_no_key_to_the_tiny_defaults():
    written = flat(yaml.safe_load((CONFIGS / "sevirlr.yaml").read_text()))
    assert set(written) == set(flat(load_config(CONFIGS / "sevirlr.yaml").model_dump(mode="json")))


def test_every_key_is_read_somewhere_in_the_code():
    sources = "\n".join(
        path.read_text()
        for folder in ("hpc", "prediff")
        for path in (CONFIGS.parent / folder).rglob("*.py")
        if path.parent.name != "config"
    )
    properties = (CONFIGS.parent / "prediff" / "config" / "schema.py").read_text()
    sources += "\n".join(re.findall(r"return (self\.\w+\.\w+)", properties))
    unread = [
        key
        for key in flat(Config().model_dump(mode="json"))
        if f".{key.rsplit('.', 1)[-1]}" not in sources
    ]
    assert not unread


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ndata: {window_stride: 2}\n")
    config = load_config(path, ["seed=4", "data.test_from=2019-06-01"])
    assert (config.seed, config.data.window_stride) == (4, 2)
    assert config.data.test_from.year == 2019


def test_what_is_saved_is_read_back_to_the_same_value(tmp_path):
    config = load_config(CONFIGS / "sevirlr.yaml", ["data.root=/data/sevirlr"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_differences_name_key_and_values():
    other = load_config(None, ["denoiser.base_width=64", "seed=1"])
    assert differing_keys(Config(), other, ["denoiser"]) == ["denoiser.base_width: 32 -> 64"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.frame_sise=64", "unknown key data.frame_sise; did you mean data.frame_size?"),
        ("lerning_rate=1", "unknown key lerning_rate; did you mean"),
        ("train_diffusion.global_batch=0", "train_diffusion.global_batch"),
        ("train_diffusion.duration=3 days", "train_diffusion.duration"),
        ("data.frame_size=60", "data.frame_size 60 is not a multiple of 8"),
        ("data.test_from=soon", "data.test_from"),
        ("seed=-1", "seed"),
        ("data=3", "data"),
        ("seed", "expected section.key=value"),
        ("seed.x=1", "seed"),
        ("train_diffusion.learning_rate=.nan", "train_diffusion.learning_rate"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(override, said):
    with pytest.raises(UserError) as error:
        load_config(None, [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_key_in_a_file_names_the_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\ndata:\n  frame_sise: 64\n")
    with pytest.raises(UserError, match=r"c\.yaml:3: unknown key data\.frame_sise"):
        load_config(path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_a_file_that_holds_no_sections_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        load_config(path)


def test_a_missing_file_is_refused():
    with pytest.raises(UserError, match="no configuration at"):
        load_config("nowhere.yaml")
