"""The newcomer's command with bad input: one line, code 2, and nothing is kept of it."""

import pytest
from small_job import msrun_8p

from prediff.data.synthesize import Recipe, synthesize

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "No data at"),
        (["--config", "nowhere.yaml"], "no configuration at nowhere.yaml"),
        (["--set", "denoiser.base_widht=8"], "unknown key denoiser.base_widht"),
        (["--set", "train_diffusion.global_batch=3"], "train_diffusion: a global batch of 3"),
        (
            ["--set", "parallel.pipeline=2", "--set", "parallel.pipeline_engine=mindspore"],
            "compiles for Ascend only",
        ),
        (["--name", "a/b"], "--name"),
        (["--unknown"], "No such option"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, arguments, said):
    job = msrun_8p(tmp_path, *arguments)
    assert job.returncode == 2
    assert said in job.stderr
    assert "Traceback" not in job.stderr
    assert not (tmp_path / "runs").exists(), "the next attempt would go on with the mistake"


def test_a_truncated_file_stops_the_job_before_any_rank_starts(tmp_path):
    data = tmp_path / "data"
    synthesize(data, recipe=Recipe(events=8, size=32))
    file = next(data.rglob("*.h5"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    job = msrun_8p(tmp_path, "--data", str(data))
    assert job.returncode == 2
    assert file.name in job.stderr
