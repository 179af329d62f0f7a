"""A report of a run that was slowed down on purpose names that cause first."""

import time

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops
from small_stage import profile_small, report_of, small_batch, small_step

from hpc.cluster.process_info import ProcessInfo
from hpc.cluster.runtime import Runtime
from hpc.errors import UserError
from prediff.profiler.record import PARTS, Peaks, StepTimes, read_report, write_report
from prediff.profiler.report_page import PERFETTO, summary, write_page

ms.set_context(mode=ms.GRAPH_MODE)

ALONE = Runtime(place=ProcessInfo(), device="CPU", world_group=None)


class Slowed:
    """A compiled step with something beside it."""

    def __init__(self, beside):
        self.step, self.beside = small_step(), beside

    def compile(self, *inputs):
        self.step.compile(*inputs)

    def __call__(self, *inputs, learning_rate):
        self.beside()
        return self.step(*inputs, learning_rate=learning_rate)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    return profile_small(small_step(), ALONE, tmp_path_factory.mktemp("quiet"))


def test_every_second_of_a_step_belongs_to_one_part(quiet):
    mean = quiet.typical()
    assert min(getattr(mean, part) for part in PARTS) >= 0
    assert mean.compute > 0
    assert mean.communication == mean.eager == 0
    assert {o.phase for o in quiet.operators} >= {"forward", "backward", "update"}
    assert "first" in {o.module for o in quiet.operators if o.kind == "MatMul"}
    native = {o.phase for o in quiet.operators if o.kind == "LayerNorm (native)"}
    assert native >= {"forward", "backward"}
    assert len(quiet.step_seconds) == 2
    assert quiet.pool_timeline
    assert quiet.resident_peak > 1e8


def test_a_sleep_in_the_loader_is_named_first(tmp_path):
    def produce(number):
        time.sleep(1)
        return small_batch(number)

    report = report_of([profile_small(small_step(), ALONE, tmp_path, produce=produce)])
    assert report.losses[0].cause == "data"
    assert report.losses[0].seconds > 0.5
    assert "waits" in report.losses[0].words


def test_a_sleep_in_the_step_is_named_as_the_hosts_first(tmp_path):
    report = report_of([profile_small(Slowed(lambda: time.sleep(1)), ALONE, tmp_path)])
    assert report.losses[0].cause == "host"
    assert report.losses[0].seconds == pytest.approx(1, abs=0.5)


def test_eager_operators_in_the_step_are_named_first(tmp_path):
    x = ms.Tensor(np.ones((512, 512), np.float32))

    def beside():
        y = x
        for _ in range(200):
            y = ops.sin(y)
        y.asnumpy()

    report = report_of([profile_small(Slowed(beside), ALONE, tmp_path)])
    assert report.losses[0].cause == "eager operators"
    assert "200 operators" in report.losses[0].words
    assert "Sin" in report.losses[0].words


def slowed(rank, *, by: float, part: str):
    """Return a rank that takes longer in one part of every step."""
    steps = tuple(StepTimes(**(s.model_dump() | {part: getattr(s, part) + by})) for s in rank.steps)
    return rank.model_copy(update={"steps": steps})


def test_the_report_survives_its_file_and_its_page_is_self_contained(quiet, tmp_path):
    report = report_of([quiet, slowed(quiet, by=2.0, part="compute")])
    seconds = {"compile": 50.0, "step": 40.0, "validation": 10.0}
    report = report.model_copy(update={"goodput": seconds})
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report
    write_page(tmp_path / "index.html", report)
    page = (tmp_path / "index.html").read_text()
    assert "slow rank" in page
    assert "40% of this stage's 100 s passed in compiled steps; 80% of what came after" in page
    assert page.count("data:image/png;base64,") >= 3
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace(PERFETTO, "")
    assert "judge no difference smaller" in page  # two steps say little
    assert "slow rank" in summary(report)


def test_a_peak_that_was_exceeded_is_raised_and_says_so():
    measured = Peaks(name="2 cores", operations=1e9, bandwidth=1e9)
    assert measured.at_least(operations=0.5e9) is measured
    raised = measured.at_least(operations=2e9)
    assert raised.operations == 2e9
    assert raised.name == "2 cores; raised from 1 GFLOP/s, which was exceeded"


def test_a_file_that_is_no_report_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no report"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="format 1"):
        read_report(tmp_path)
