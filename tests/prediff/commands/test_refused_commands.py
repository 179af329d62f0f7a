"""A refused command leaves no trace: every file stays as it was, and no folder appears."""

import hashlib
import os
import shlex
import sys
from pathlib import Path

import pytest
from untrained_run import untrained_run

from prediff import cli

MISTAKES = {
    # the run is there; a setting or a name is wrong
    "evaluate --name first --protocol nonsense": "no protocol 'nonsense'",
    "evaluate --name first --protocol 'native #2'": "no protocol 'native #2'",
    "evaluate --name first --baseline nonsense": "baselines",
    "evaluate --name first --protocol cascast384": "context_frames",
    "evaluate --name first --set forecast.steps=1": "run `prediff forecast --name first` first",
    "evaluate --name first": "run `prediff forecast --name first` first",
    "evaluate --name first --set seed=9": "made with another configuration",
    "forecast --name first --set forecast.solver=foo": "solver 'foo' is unknown",
    "forecast --name first --solver 'dpmpp #3'": "solver 'dpmpp #3' is unknown",
    "forecast --name first --solver midpoint": "does not fit",
    "forecast --name first --steps 5000": "exceeds diffusion.noise_steps",
    "forecast --name first --set forecast.guidance.source=trend": "no trained alignment",
    "forecast --name first --set nonsense=1": "unknown key",
    "forecast --name first --set 'forecast={steps: &a 1, batch: *a}'": "aliases",
    "forecast --name first --input absent.nc --out new/out.nc": "absent.nc",
    "forecast --name first --input absent.nc --out out.txt": ".nc or .zarr",
    "forecast --name first --input absent.nc --out mine.zarr": "not made by this command",
    "forecast --name first --input absent.nc --out mine.nc": "not made by this command",
    "forecast --name first --latest absent --out new/out.nc": "absent",
    "train diffusion --name first --set train_diffusion.log_every=3": "cache latents",
    "train alignment --name first --set train_alignment.log_every=3": "cache latents",
    "launch --name first --workers 3": "cannot be cut",
    "slurm --name first": "Slurm",
    "cache verify --repair --name first": "no latent store",
    "compare first first --out new.json": "no scores",
    "export first --out mine.zarr": "is there already",
    "export first --out new --set forecast.guidance.source=trend": "no trained alignment",
    "export first --out new --sign absent": "no key at absent",
    "import mine.zarr --name new": "is no exported model",
    "import mine.zarr --name ../new": "--name",
    "compare first first --out mine.nc": "not made by this command",
    "profile --run first --stage nonsense": "unknown",
    "profile --run first --name ../x": "--name",
    "profile --run first --workers 2 --set denoiser.num_heads=3": "heads do not divide",
    "convert export --name first --network alignment --out new/x.safetensors": "no trained align",
    "convert export --name first --network autoencoder --out mine.nc": "not made by this command",
    "convert import absent.pt --name first": "absent.pt",
    # the run is not there
    "status typo": "no run typo",
    "export typo --out new": "no run at",
    "forecast --name typo": "no run typo",
    "evaluate --name typo": "no run typo",
    "guidance --name typo": "no run typo",
    "compare typo first --out new.json": "no run at",
    "cache latents --name typo": "no run typo",
    "cache info --name typo": "no run typo",
    "cache verify --repair --name typo": "no run typo",
    "train diffusion --name typo": "no run typo",
    "train alignment --name typo": "no run typo",
    "profile --run typo": "no run typo",
    "convert export --name typo --network denoiser --out new/x.safetensors": "no run typo",
    # a new run that cannot become one
    "run --name new --set denoiser.num_heads=3": "3 heads do not divide",
    "run --name new --set denoiser.attention_pattern=foo": "pattern 'foo' is unknown",
    "run --name new --set autoencoder.norm_groups=7": "norm_groups 7",
    "run --name new --set forecast.solver=foo": "solver 'foo' is unknown",
    "run --name new --set diffusion.noise_schedule=straight": "flow matching",
    "run --name new --set denoiser.precision=bfloat16": "bfloat16",
    "run --name new --set denoiser.depths=[1000000000]": "blocks",
    "run --name new --set train_autoencoder.adversarial.start_step=0 --set data.frame_size=16": (
        "leave nothing"
    ),
    "run --name new --set parallel.pipeline=2": "pipeline stages do not divide",
    "run --name new --data absent": "absent",
    "run --name new --config absent.yaml": "absent.yaml",
    "run --name new --config mine.nc": "mine.nc",
    "run --name ../new": "--name",
    "run --name 'a;id'": "--name",
    "train autoencoder --name new --set autoencoder.norm_groups=7": "norm_groups 7",
    "launch --name new --workers 3": "cannot be cut",
    "launch --name new --set forecast.solver=foo": "solver 'foo' is unknown",
    "plan --set denoiser.num_heads=3": "heads do not divide",
    "plan --set forecast.solver=foo": "solver 'foo' is unknown",
    "convert import absent.pt --name new": "absent.pt",
    "convert import mine.nc --name new": "mine.nc",
    "convert config mine.nc --out new/x.yaml": "mine.nc",
    "convert config theirs.yaml --out mine.nc": "",
    "data check absent": "absent",
    "data downsample absent new": "absent",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run whose networks are there, and with files of the user's."""
    home = tmp_path_factory.mktemp("home")
    untrained_run(home / "runs/first", data=True)
    (home / "mine.zarr").mkdir()
    for name in ("mine.zarr/thesis.tex", "mine.nc"):
        (home / name).write_text("years of work")
    (home / "theirs.yaml").write_text("a: 1\n")
    return home


def everything(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(
            path.read_bytes() if path.is_file() else b"folder"
        ).hexdigest()
        for path in home.rglob("*")
    }


@pytest.mark.parametrize("command", MISTAKES)
def test_a_refused_command_says_why_in_one_line_and_leaves_no_trace(
    command, home, monkeypatch, capsys
):
    before = everything(home)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", ["prediff", *shlex.split(command)])
    for name in [name for name in os.environ if name.startswith(("SLURM_", "MS_"))]:
        monkeypatch.delenv(name)
    code = cli._run()
    said = capsys.readouterr().err
    assert code == 2, said
    assert MISTAKES[command] in said
    assert everything(home) == before
    if said.startswith("error: "):
        assert said.count("\n") == 1


def test_a_mistake_of_one_command_is_not_inherited_by_the_next(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    for command in ("forecast --name first --steps 5000", "status first"):
        monkeypatch.setattr(sys, "argv", ["prediff", *command.split()])
        code = cli._run()
    assert code == 0
