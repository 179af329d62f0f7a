"""The published denoiser at batch 1: build, load a state dict, one forward, training steps.

    python profiling/full_model.py [--config configs/sevirlr.yaml] [--steps 2] [--recompute]

Prints seconds and the process's peak memory after each part. Needs up to 20 GB.
"""

import argparse
import resource
import time
from zlib import crc32

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from prediff.config import load_config
from prediff.convert import load_reference, to_reference
from profiling.eager_and_compiled_step import make_inputs, make_step


class Clock:
    def __init__(self) -> None:
        self.began = time.perf_counter()

    def tell(self, what: str) -> None:
        seconds = time.perf_counter() - self.began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what}: {seconds:.1f} s, peak memory {peak:.1f} GiB", flush=True)
        self.began = time.perf_counter()


def made_up(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights by name, of the right shapes and of a sensible size."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        random = np.random.RandomState(crc32(name.encode()))
        normal = random.standard_normal(shape).astype(np.float32)
        return normal / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * normal

    return {name: values(name, array.shape) for name, array in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/sevirlr.yaml")
    parser.add_argument("--steps", type=int, default=2, help="training steps after the first")
    parser.add_argument("--recompute", action="store_true")
    options = parser.parse_args()
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    config = load_config(
        options.config,
        [
            f"denoiser.recompute={str(options.recompute).lower()}",
            "train_diffusion.global_batch=1",
        ],
    )
    clock = Clock()
    step, loss = make_step(config)
    denoiser = loss.denoiser
    count = sum(parameter.size for parameter in denoiser.get_parameters())
    clock.tell(f"built, {count} parameters")
    load_reference(denoiser, made_up(to_reference(denoiser)))
    clock.tell("loaded a state dict under the reference's names")
    clean, noise, steps, condition, key = make_inputs(config, 1)
    denoiser.set_train(False)
    for what in ("first forward, with compilation", "forward", "forward"):
        denoiser(ms.Tensor(noise), ms.Tensor(steps), ms.Tensor(condition)).asnumpy()
        clock.tell(what)
    denoiser.set_train(True)
    for number in range(1 + options.steps):
        report = step(clean, noise, steps, condition, key, learning_rate=1e-4).read()
        what = "training step" if number else "first training step, with compilation"
        clock.tell(f"{what}, loss {report['loss']:.4f}")


if __name__ == "__main__":
    main()
