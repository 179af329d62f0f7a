"""Where a training stage begins, and what is refused, seen from the files of a run."""

import numpy as np
import pytest

from hpc.checkpoint.format import write_checkpoint
from hpc.cluster.mesh import Mesh
from hpc.cluster.process_info import ProcessInfo
from hpc.cluster.runtime import Runtime
from hpc.data.order import SampleOrder
from hpc.errors import UserError
from hpc.train.health import Health
from hpc.train.step import TrainState
from prediff.config import Config
from prediff.run_folder import RunFolder, open_run
from prediff.training.resume import is_restarted, restore, starting_point, training_state

RUNTIME = Runtime(place=ProcessInfo(), device="CPU", world_group=None)
ORDER = SampleOrder(num_samples=10, global_batch=4, seed=0)


class Step:
    """Takes the state that it is given."""

    state: TrainState | None = None

    def load(self, state: TrainState) -> None:
        self.state = state


def save(folder: RunFolder, step: int, stage: str = "diffusion"):
    health = Health(patience=3)
    health.observe(step=step, loss=1.0, grad_norm=float("nan"), is_finite=False, samples=[1])
    return write_checkpoint(
        folder.checkpoints(stage),
        step=step,
        arrays={
            "model": {"w": np.full(3, step, np.float32)},
            "optimizer": {"updates": np.float32(step).reshape(())},
        },
        state={
            **training_state(stage, Config(), RUNTIME, Mesh()),
            "samples_seen": 4 * step,
            "health": health.export(),
        },
    )


def begin(folder: RunFolder) -> tuple[int, Step, Health]:
    step, health = Step(), Health(patience=3)
    first = restore("diffusion", folder, RUNTIME, ORDER, step=step, health=health)
    return first, step, health


def test_without_checkpoints_a_stage_begins_at_its_first_step(tmp_path):
    first, step, _ = begin(RunFolder(tmp_path))
    assert first == 0
    assert step.state is None


def test_auto_takes_the_newest_with_its_health(tmp_path):
    folder = RunFolder(tmp_path)
    save(folder, 5)
    save(folder, 7)
    first, step, health = begin(folder)
    assert first == 7
    assert step.state.model["w"][0] == 7
    assert health.counts["skipped_steps"] == 1


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, file):
    folder = RunFolder(tmp_path)
    save(folder, 5)
    path = save(folder, 7) / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    first, step, _ = begin(folder)
    assert first == 5
    assert step.state.model["w"][0] == 5


def test_when_every_checkpoint_is_damaged_nothing_is_trained_over_them(tmp_path):
    folder = RunFolder(tmp_path)
    (save(folder, 5) / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 checkpoints"):
        begin(folder)


def test_none_begins_anew_and_leaves_the_checkpoints(tmp_path):
    save(RunFolder(tmp_path), 5)
    folder = RunFolder(tmp_path, resume="none")
    assert is_restarted(folder, "diffusion")
    assert begin(folder)[0] == 0
    assert folder.checkpoints("diffusion").joinpath("step_00000005").exists()


def test_a_path_is_taken_by_its_own_stage_only(tmp_path):
    plain = RunFolder(tmp_path)
    older = save(plain, 5)
    save(plain, 7)
    save(plain, 3, stage="autoencoder")
    folder = RunFolder(tmp_path, resume=str(older))
    assert begin(folder)[0] == 5
    assert is_restarted(folder, "diffusion")
    assert not is_restarted(folder, "autoencoder")
    assert starting_point(folder, "autoencoder").name == "step_00000003"


def test_a_path_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"state\.json cannot be read"):
        begin(RunFolder(tmp_path, resume=str(tmp_path / "step_00000009")))


def test_another_batch_size_is_refused_where_no_batch_begins(tmp_path):
    folder = RunFolder(tmp_path)
    save(folder, 5)
    order = SampleOrder(num_samples=10, global_batch=3, seed=0)
    with pytest.raises(UserError, match="no multiple of a global batch of 3"):
        restore("diffusion", folder, RUNTIME, order, step=Step(), health=Health(patience=3))


def test_the_state_tells_what_made_it(tmp_path):
    state = training_state("diffusion", Config(), RUNTIME, Mesh())
    assert state["config"]["seed"] == Config().seed
    assert set(state["versions"]) == {"python", "prediff-hpc", "mindspore", "numpy"}
    assert state["mesh"] == {"data": 1, "pipeline": 1}


def test_a_run_folder_refuses_another_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_run(name="a", config=None, data=None, overrides=["seed=1"])
    with pytest.raises(UserError, match="made with another configuration: seed: 1 -> 2"):
        open_run(name="a", config=None, data=None, overrides=["seed=2"])
    _, config = open_run(
        name="a", config=None, data=None, overrides=["train_diffusion.keep_every=50"]
    )
    assert (config.seed, config.train_diffusion.keep_every) == (1, 50)
