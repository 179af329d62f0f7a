"""The order of samples as a function, so that a run's position is one integer.

Epoch e visits the samples in the permutation ``order(seed, e)``. All epochs one after the other
are one endless sequence; global batch b is its positions ``[b * B, (b + 1) * B)``. Nothing is
dropped and nothing is repeated: a batch that reaches the end of an epoch goes on in the next, and
each epoch visits every sample exactly once whatever the batch size.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpc.errors import UserError
from hpc.randomness import keyed_generator


@lru_cache(maxsize=2)  # a batch may reach from one epoch into the next
def order(*, num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation ``[num_samples]`` in which an epoch visits the samples.

    Its integers are as small as their number allows: at 100 million samples 400 MB.
    """
    generator = keyed_generator(seed=seed, stream="sample_order", sample=0, step=epoch)
    permutation = np.arange(num_samples, dtype=np.min_scalar_type(num_samples - 1))
    generator.shuffle(permutation)
    permutation.setflags(write=False)
    return permutation


@dataclass(frozen=True)
class SampleOrder:
    """Which samples make up which global batch, and which part of it a rank takes.

    Raises:
        UserError: there are no samples, or the batch is empty.
    """

    num_samples: int
    global_batch: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise UserError("there are no training samples: check the data folder and its filters")
        if self.global_batch < 1:
            raise UserError(f"a global batch of {self.global_batch} samples: use 1 or more")

    def batch(self, number: int) -> np.ndarray:
        """Return the samples ``[global_batch]`` int64 of global batch `number` (0 is the first)."""
        positions = number * self.global_batch + np.arange(self.global_batch)
        epochs, places = np.divmod(positions, self.num_samples)
        samples = np.empty(self.global_batch, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            visited = order(num_samples=self.num_samples, seed=self.seed, epoch=int(epoch))
            samples[here] = visited[places[here]]
        return samples

    def rank_slice(self, number: int, *, data_rank: int, data_size: int) -> np.ndarray:
        """Return a rank's part of a batch, ``[global_batch / data_size]`` int64.

        The parts of all ranks, one after the other, are `batch(number)`.
        """
        part, rest = divmod(self.global_batch, data_size)
        assert rest == 0, f"{data_size} ranks do not divide a batch of {self.global_batch}"
        assert 0 <= data_rank < data_size
        return self.batch(number)[data_rank * part : (data_rank + 1) * part]

    def rank_batch(
        self, number: int, *, data_rank: int, data_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a rank's part of a batch and its samples' numbers in the endless sequence."""
        samples = self.rank_slice(number, data_rank=data_rank, data_size=data_size)
        start = number * self.global_batch + data_rank * len(samples)
        return samples, start + np.arange(len(samples))

    def epoch(self, number: int) -> float:
        """Return how many epochs have been seen when batch `number` begins."""
        return number * self.global_batch / self.num_samples

    def batch_at(self, samples_seen: int) -> int:
        """Return the number of the batch that comes after `samples_seen` samples.

        Raises:
            UserError: a run that saw this many samples used another global batch, so that no
                batch of this size begins here.
        """
        number, rest = divmod(samples_seen, self.global_batch)
        if rest:
            raise UserError(
                f"{samples_seen} samples seen are no multiple of a global batch of "
                f"{self.global_batch}: continue with the batch size that the run was started with"
            )
        return number
