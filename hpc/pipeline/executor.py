"""Run a rank's part of a schedule with compiled chunks and messages."""

import time
from collections.abc import Callable, Mapping, Sequence

from mindspore import Tensor

from hpc.errors import UserError
from hpc.pipeline.actions import Action, Backward, Forward, Receive, Schedule, Send
from hpc.pipeline.chunk import Chunk, ChunkBackward
from hpc.pipeline.transport import Transport

Observe = Callable[[Action, float, float], None]
"""(action, start, end), in seconds of `time.perf_counter`."""


class Executor:
    """One rank of a folded pipeline.

    Chunk c and chunk 2p-1-c are on one rank, so skips wait here from the forward pass of the one
    to that of the other, and their gradients on the way back.

    Args:
        schedule: of a step, on a folded placement and with whole backward passes.
        chunks: this rank's pieces, by number.
        backwards: their backward passes; None for a forward-only schedule.
        shapes: `Chunk.out_shape` of every chunk of the pipeline.
        ranks: global rank of each rank of the pipeline.
        rank: this one's place among them.
        transport: carries messages.
        observe: told what was done when; it makes every action wait for its result, so it slows
            devices that work ahead of the host.

    Raises:
        UserError: the schedule halves backward passes.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        chunks: Mapping[int, Chunk],
        backwards: Mapping[int, ChunkBackward] | None,
        shapes: Sequence[tuple[int, ...] | None],
        ranks: Sequence[int],
        rank: int,
        transport: Transport,
        observe: Observe | None = None,
    ) -> None:
        self.schedule, self.actions = schedule, schedule.ranks[rank]
        self.chunks, self.backwards = chunks, backwards
        self.shapes, self.ranks, self.transport = shapes, ranks, transport
        self.observe = observe
        self.last = schedule.chunks - 1
        assert all(
            schedule.placement[c] == schedule.placement[self.last - c]
            for c in range(schedule.chunks)
        ), "the executor runs folded placements"
        if any(
            not isinstance(action, Forward | Backward | Send | Receive) for action in self.actions
        ):
            raise UserError(
                f"schedule {schedule.name!r} halves backward passes, which recompute too much to "
                "pay: use folded 1F1B"
            )

    def run(self, inputs: Sequence[Mapping[int, Tensor]]) -> list[tuple[Tensor, ...]]:
        """Run one step.

        Args:
            inputs: of each micro-batch, by the number of the step's input.

        Returns:
            what the last chunk's forward pass returned for each micro-batch, on its rank and in
            forward-only schedules; else nothing, its backward pass computes it again.
        """
        passing = _Passing()
        results = []
        for action in self.actions:
            start = time.perf_counter()
            if isinstance(action, Forward):
                result = self._forward(action, passing, inputs[action.micro_batch])
                if result and self.backwards is None and action.chunk == self.last:
                    results.append(result)
            elif isinstance(action, Backward):
                result = self._backward(action, passing, inputs[action.micro_batch])
            else:
                result = self._carry(action, passing, inputs[action.micro_batch])
            if self.observe is not None:
                for array in result:
                    array.asnumpy()
                self.observe(action, start, time.perf_counter())
        assert passing.is_empty, "something was made that nobody took"
        return results

    def _inputs(self, chunk: int, inputs: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
        return tuple(inputs[number] for number in self.chunks[chunk].inputs)

    def _forward(
        self, action: Forward, passing: "_Passing", inputs: Mapping[int, Tensor]
    ) -> tuple[Tensor, ...]:
        c, k = action.chunk, action.micro_batch
        carried: tuple[Tensor, ...] = ()
        if c > 0:
            carried = (passing.streams.pop((c, k)), *passing.skips.pop((c, k), ()))
        if self.backwards is not None:
            passing.kept[c, k] = carried
            if c == self.last:
                return ()
        outputs = self.chunks[c].cell(*carried, *self._inputs(c, inputs))
        if c < self.last:
            passing.streams[c + 1, k] = outputs[0]
            if outputs[1:]:
                passing.skips[self.last - c, k] = outputs[1:]
        return outputs

    def _backward(
        self, action: Backward, passing: "_Passing", inputs: Mapping[int, Tensor]
    ) -> tuple[Tensor, ...]:
        assert self.backwards is not None
        c, k = action.chunk, action.micro_batch
        cotangents: tuple[Tensor, ...] = ()
        if c < self.last:
            skips = passing.skip_gradients.pop((c, k), ())
            cotangents = (passing.gradients.pop((c, k)), *skips)
        carried = passing.kept.pop((c, k))
        outputs = self.backwards[c](*carried, *self._inputs(c, inputs), *cotangents)
        if c > 0:
            passing.gradients[c - 1, k] = outputs[0]
            if outputs[1:]:
                passing.skip_gradients[self.last - c, k] = outputs[1:]
        return outputs

    def _carry(
        self, action: Send | Receive, passing: "_Passing", inputs: Mapping[int, Tensor]
    ) -> tuple[Tensor, ...]:
        box = passing.streams if action.kind == "activation" else passing.gradients
        place = (action.target, action.micro_batch)
        peer = self.ranks[action.peer]
        if isinstance(action, Send):
            self.transport.send(box.pop(place), peer=peer)
            return ()
        shape = self.shapes[min(action.source, action.target)]
        assert shape is not None, "nothing leaves the last chunk"
        samples = next(iter(inputs.values())).shape[0]
        box[place] = self.transport.receive((samples, *shape), peer=peer)
        return (box[place],)


class _Passing:
    """What waits on a rank, by (chunk that will take it, micro-batch)."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, int], Tensor] = {}
        self.skips: dict[tuple[int, int], tuple[Tensor, ...]] = {}
        self.kept: dict[tuple[int, int], tuple[Tensor, ...]] = {}
        self.gradients: dict[tuple[int, int], Tensor] = {}
        self.skip_gradients: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    @property
    def is_empty(self) -> bool:
        return not any((self.streams, self.skips, self.kept, self.gradients, self.skip_gradients))
