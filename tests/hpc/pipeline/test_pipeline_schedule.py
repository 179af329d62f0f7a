"""Schedules hold what they promise, for any number of stages, micro-batches and costs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.pipeline.actions import (
    Backward,
    BackwardInput,
    BackwardWeight,
    Forward,
    Receive,
    Schedule,
    Send,
)
from hpc.pipeline.costs import StageCosts
from hpc.pipeline.schedule import (
    folded_one_forward_one_backward,
    folded_placement,
    folded_split_backward,
    forward_only,
    gpipe,
    micro_batches_of,
    one_forward_one_backward,
    plain_placement,
)
from hpc.pipeline.simulate import Deadlock, peak_live, simulate


def unit_skips(stages):
    return [(c, stages - 1 - c) for c in range(stages // 2)]


def drawn_costs(draw, chunks):
    seconds = st.floats(0.1, 3)
    times = [tuple(draw(seconds) for _ in range(chunks)) for _ in range(4)]
    return StageCosts(
        forward=times[0],
        backward=times[1],
        backward_input=times[2],
        backward_weight=times[3],
        message_bytes={(c, c + 1): 1.0 for c in range(chunks)},
        bandwidth=draw(st.floats(0.5, 50)),
        latency=0.05,
    )


@st.composite
def schedules(draw, blocking=st.booleans()):  # noqa: B008
    stages, micro_batches = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    common = {"micro_batches": micro_batches, "blocking": draw(blocking)}
    folded = {
        "stages": stages,
        "in_flight": draw(st.none() | st.integers(1, 2 * stages)),
        "costs": drawn_costs(draw, 2 * stages) if draw(st.booleans()) else None,
        **common,
    }
    makers = [
        lambda: gpipe(placement=plain_placement(stages), **common),
        lambda: gpipe(placement=folded_placement(stages), **common),
        lambda: one_forward_one_backward(stages=stages, skips=unit_skips(stages), **common),
        lambda: folded_one_forward_one_backward(**folded),
        lambda: folded_split_backward(**folded),
    ]
    return draw(st.sampled_from(makers))()


def computations(schedule: Schedule):
    return [
        action
        for actions in schedule.ranks
        for action in actions
        if not isinstance(action, Send | Receive)
    ]


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_every_pass_happens_exactly_once_on_the_rank_that_holds_the_chunk(schedule):
    found = computations(schedule)
    halves = (BackwardInput, BackwardWeight)
    kinds = (Forward, *halves) if "split" in schedule.name else (Forward, Backward)
    expected = {
        kind(c, k)
        for kind in kinds
        for c in range(schedule.chunks)
        for k in range(schedule.micro_batches)
    }
    assert len(found) == len(expected)
    assert set(found) == expected
    for rank, actions in enumerate(schedule.ranks):
        held = {a.chunk for a in actions if not isinstance(a, Send | Receive)}
        assert held == {c for c, holder in enumerate(schedule.placement) if holder == rank}


@settings(max_examples=50, deadline=None)
@given(schedules(), st.data())
def test_nothing_runs_before_what_it_needs_whatever_the_times_are(schedule, data):
    played = simulate(schedule, drawn_costs(data.draw, schedule.chunks)).timeline
    check_order(schedule, played)


@settings(max_examples=50, deadline=None)
@given(schedules(blocking=st.just(True)), st.data())
def test_sends_that_wait_for_their_receive_cannot_deadlock_whatever_the_times_are(schedule, data):
    costs = drawn_costs(data.draw, schedule.chunks)
    check_order(schedule, simulate(schedule, costs, blocking=True).timeline)


def check_order(schedule, played):
    start = {p.action: p.start for p in played}
    end = {p.action: p.end for p in played}
    for action in computations(schedule):
        c, k = action.chunk, action.micro_batch
        if isinstance(action, Forward) and c > 0:
            assert start[action] >= end[Forward(c - 1, k)]
        if isinstance(action, Backward | BackwardInput):
            assert start[action] >= end[Forward(c, k)]
            if c < schedule.chunks - 1:
                assert start[action] >= end[type(action)(c + 1, k)]
        if isinstance(action, BackwardWeight):
            assert start[action] >= end[BackwardInput(c, k)]


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_no_rank_keeps_more_inputs_than_stated(schedule):
    assert max(peak_live(schedule)) <= schedule.live_bound


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_every_message_is_sent_and_received_once_in_the_same_order_by_both_ranks(schedule):
    def names(rank, kind, peer):
        return [
            (a.kind, a.source, a.target, a.micro_batch)
            for a in schedule.ranks[rank]
            if isinstance(a, kind) and a.peer == peer
        ]

    for giver in range(len(schedule.ranks)):
        for taker in range(len(schedule.ranks)):
            sent, received = names(giver, Send, taker), names(taker, Receive, giver)
            assert sent == received
            assert len(set(sent)) == len(sent)


@pytest.mark.parametrize("stages", [2, 4, 8])
@pytest.mark.parametrize("micro_batches", [4, 8, 16, 32])
def test_folding_beats_a_plain_pipeline_that_ships_skips(stages, micro_batches):
    folded = simulate(
        folded_one_forward_one_backward(stages=stages, micro_batches=micro_batches),
        StageCosts(forward=(1.0,) * 2 * stages, backward=(3.0,) * 2 * stages),
    )
    plain = simulate(
        one_forward_one_backward(
            stages=stages, micro_batches=micro_batches, skips=unit_skips(stages)
        ),
        StageCosts(forward=(2.0,) * stages, backward=(6.0,) * stages),
    )
    assert folded.bubble < plain.bubble
    if micro_batches >= 2 * stages - 1:
        assert folded.makespan == 4 * (2 * micro_batches + stages - 1)


def test_plain_1f1b_idles_as_the_textbook_says():
    schedule = one_forward_one_backward(stages=4, micro_batches=8)
    found = simulate(schedule, StageCosts(forward=(1.0,) * 4, backward=(3.0,) * 4))
    assert found.makespan == 4 * (8 + 3)
    assert found.bubble == pytest.approx(3 / 11)
    assert found.peak_live == (4, 3, 2, 1)


def test_folding_ships_no_skip_and_joins_the_bottom_and_the_ends_on_their_ranks():
    schedule = folded_one_forward_one_backward(stages=3, micro_batches=5)
    sends = [a for actions in schedule.ranks for a in actions if isinstance(a, Send)]
    assert {a.kind for a in sends} == {"activation", "gradient"}
    assert {tuple(sorted((a.source, a.target))) for a in sends} == {(0, 1), (1, 2), (3, 4), (4, 5)}
    assert schedule.placement == (0, 1, 2, 2, 1, 0)


def test_a_schedule_whose_ranks_wait_for_each_other_is_found_out():
    send, receive = Send("activation", 0, 1, 0, 1), Receive("activation", 0, 1, 0, 0)
    back, taken = Send("gradient", 1, 0, 0, 0), Receive("gradient", 1, 0, 0, 1)
    first, second = (Forward(0, 0), send, taken), (Forward(1, 0), back, receive)
    crossed = Schedule("crossed", (0, 1), 1, (first, second), 1)
    costs = StageCosts(forward=(1.0, 1.0), backward=(1.0, 1.0))
    simulate(crossed, costs)
    with pytest.raises(Deadlock, match="rank 0 at Send"):
        simulate(crossed, costs, blocking=True)


def test_halved_backward_passes_fill_the_bubble_only_without_recomputation():
    whole = folded_one_forward_one_backward(stages=4, micro_batches=8)
    kept = StageCosts(
        forward=(1.0,) * 8,
        backward=(2.0,) * 8,
        backward_input=(1.0,) * 8,
        backward_weight=(1.0,) * 8,
    )
    recomputed = StageCosts(
        forward=(1.0,) * 8,
        backward=(3.0,) * 8,
        backward_input=(2.0,) * 8,
        backward_weight=(3.0,) * 8,
    )
    halves = [
        folded_split_backward(stages=4, micro_batches=8, costs=costs)
        for costs in (kept, recomputed)
    ]
    assert simulate(halves[0], kept).bubble < simulate(whole, kept).bubble
    assert simulate(halves[1], recomputed).makespan > simulate(whole, recomputed).makespan


def test_a_forward_only_schedule_makes_one_pass_without_waiting():
    found = simulate(
        forward_only(placement=folded_placement(2), micro_batches=3),
        StageCosts(forward=(1.0,) * 4, backward=(9.0,) * 4),
    )
    assert found.makespan == pytest.approx(8, abs=2)


@pytest.mark.parametrize(
    ("samples", "largest", "stages", "expected"),
    [(16, 64, 1, 1), (16, 4, 1, 4), (16, 64, 2, 4), (16, 64, 4, 8), (2, 64, 4, 2), (6, 2, 1, 3)],
)
def test_micro_batches_fill_the_pipeline_and_fit_in_memory(samples, largest, stages, expected):
    assert micro_batches_of(samples=samples, largest=largest, stages=stages) == expected
