"""Run by test_adversarial_ranks.py, alone or under msrun: saves a rank's gradients."""

import os
import sys

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from prediff.models.adversarial_loss import DiscriminatorLoss, GeneratorLoss
from prediff.models.autoencoder import Autoencoder
from prediff.models.discriminator import PatchDiscriminator, RankMean

RANKS = int(os.environ.get("MS_WORKER_NUM", "1"))


class Step(nn.Cell):
    def __init__(self, loss, parameters):
        super().__init__()
        self.run = ops.value_and_grad(loss, None, ms.ParameterTuple(parameters), has_aux=True)

    def construct(self, frames, noise, adversarial_weight):
        return self.run(frames, noise, adversarial_weight)


def main(folder):
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    rank, reduce_mean = 0, None
    if RANKS > 1:
        from mindspore.communication import GlobalComm, get_rank, init

        init()
        rank = get_rank()
        reduce_mean = RankMean(group=GlobalComm.WORLD_COMM_GROUP, size=RANKS)
    sizes = {"latent_channels": 2, "widths": (4, 4), "norm_groups": 2, "layers_per_block": 1}
    autoencoder = Autoencoder(seed=1, **sizes)
    discriminator = PatchDiscriminator(base_width=4, seed=2, reduce_mean=reduce_mean)
    random = np.random.RandomState(0)
    frames = random.rand(4, 24, 24, 1).astype(np.float32)
    noise = random.standard_normal((4, 12, 12, 2)).astype(np.float32)
    share = slice(rank * 4 // RANKS, (rank + 1) * 4 // RANKS)
    inputs = [ms.Tensor(array[share].copy()) for array in (frames, noise, np.ones(4, np.float32))]
    generator = GeneratorLoss(autoencoder, discriminator, reduce_mean=reduce_mean)
    adversary = DiscriminatorLoss(autoencoder, discriminator)
    found = {}
    for name, loss, network in (
        ("generator", generator, autoencoder),
        ("discriminator", adversary, discriminator),
    ):
        values, gradients = Step(loss, network.trainable_params())(*inputs)
        arrays = [value.asnumpy() for value in (*values, *gradients)]
        found.update({f"{name}.{i}": array for i, array in enumerate(arrays)})
    np.savez(f"{folder}/{RANKS}_{rank}.npz", **found)
    if reduce_mean is not None:
        reduce_mean(ms.Tensor(0.0, ms.float32)).asnumpy()  # nobody leaves early


main(sys.argv[1])
