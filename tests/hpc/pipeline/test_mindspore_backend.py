"""MindSpore's own pipeline is refused where it cannot compile, in one line."""

import pytest
from mindspore import nn

from hpc.errors import UserError
from hpc.mesh import Place
from hpc.pipeline.mindspore_backend import pipelined_by_mindspore
from hpc.runtime import Runtime


def test_it_is_refused_without_ascend():
    runtime = Runtime(place=Place(), device="CPU", world_group=None)
    with pytest.raises(UserError, match="does not compile for CPU: it needs Ascend; use the fold"):
        pipelined_by_mindspore(
            nn.Identity(), nn.Identity(), runtime=runtime, stages=2, micro_batches=4, stage_of={}
        )


def test_fewer_micro_batches_than_stages_are_refused():
    runtime = Runtime(place=Place(), device="Ascend", world_group=None)
    with pytest.raises(UserError, match="as many micro-batches as stages: 2 < 4"):
        pipelined_by_mindspore(
            nn.Identity(), nn.Identity(), runtime=runtime, stages=4, micro_batches=2, stage_of={}
        )
