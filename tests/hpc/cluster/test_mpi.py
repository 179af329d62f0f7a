"""Who builds: MPI, Slurm, another launcher, or one process; without any MPI process here."""

import pytest

from hpc.cluster import mpi
from hpc.cluster.mpi import SeparateRanks, started_ranks
from hpc.cluster.process_info import ROLE, VARIABLES
from hpc.errors import UserError


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for key in (*VARIABLES, ROLE):
        monkeypatch.delenv(key, raising=False)


def test_without_a_launcher_there_is_one_rank():
    with started_ranks() as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert ranks.broadcast("value") == "value"
        ranks.barrier()


def test_numbers_given_by_the_caller_win(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "4")
    with started_ranks(rank=3, size=8) as ranks:
        assert (ranks.rank, ranks.size) == (3, 8)


def test_slurm_without_mpi_gives_the_numbers_of_the_step(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "6")
    with started_ranks() as ranks:
        assert (ranks.rank, ranks.size) == (5, 6)


def test_a_launcher_without_mpi_library_gives_the_numbers(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(mpi, "_world_communicator", lambda: None)
    with started_ranks() as ranks:
        assert isinstance(ranks, SeparateRanks)
        assert (ranks.rank, ranks.size) == (1, 2)


def test_an_mpi_library_that_is_not_the_launchers_does_not_make_every_process_rank_zero(
    monkeypatch,
):
    class Alone:
        def Get_size(self):
            return 1

    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setattr(mpi, "_world_communicator", Alone)
    with started_ranks() as ranks:
        assert (ranks.rank, ranks.size) == (1, 2)


def test_a_rank_outside_its_number_is_refused():
    with pytest.raises(UserError, match="rank 2 of 2"):
        SeparateRanks(rank=2, size=2)


class BrokenCommunicator:
    def __init__(self):
        self.aborted = None

    def Get_rank(self):
        return 1

    def Get_size(self):
        return 2

    def Abort(self, code):
        self.aborted = code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no data"), 2, "error on rank 1: no data\n"),
        (RuntimeError("a defect"), 1, "RuntimeError: a defect\n"),
        (KeyboardInterrupt(), 130, "rank 1 was interrupted; finished shards are kept\n"),
        (SystemExit(3), 3, ""),
    ],
)
def test_an_error_aborts_all_ranks_after_its_message(monkeypatch, capsys, error, code, said):
    communicator = BrokenCommunicator()
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(mpi, "_world_communicator", lambda: communicator)
    with pytest.raises(type(error)), started_ranks():
        raise error
    assert communicator.aborted == code
    assert capsys.readouterr().err.endswith(said)


def test_a_clean_exit_aborts_nobody(monkeypatch):
    communicator = BrokenCommunicator()
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(mpi, "_world_communicator", lambda: communicator)
    with pytest.raises(SystemExit), started_ranks():
        raise SystemExit(0)
    assert communicator.aborted is None
