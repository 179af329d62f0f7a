"""One step of the VAE-GAN: the autoencoder's, then the discriminator's, each with its optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, nn

from hpc.train.compile_cache import Compiler
from hpc.train.step import StepReport, TrainState, TrainStep

DISCRIMINATOR = "discriminator"
_GENERATOR_SHARED = ("is_finite", "stop_votes")


@dataclass(frozen=True)
class AdversarialReport:
    """What both steps found, still on the device; the discriminator's names get its prefix."""

    generator: StepReport
    discriminator: StepReport | None

    def read(self) -> dict[str, float]:
        """Wait for both steps and return their numbers by name.

        ``is_finite`` is 1 if both are finite; before the adversary's start nothing is said of it.
        """
        found = self.generator.read()
        if self.discriminator is None:
            return found
        other = self.discriminator.read()
        found["is_finite"] = min(found["is_finite"], other["is_finite"])
        return found | {
            f"{DISCRIMINATOR}_{name}": value
            for name, value in other.items()
            if name not in _GENERATOR_SHARED
        }


class AdversarialStep:
    """Two `TrainStep`s that the training loop drives like one.

    Args:
        generator: of the autoencoder, with the inputs of `GeneratorLoss`.
        discriminator: of the discriminator, with the inputs of `DiscriminatorLoss`. It sees the
            autoencoder that the generator's step has just changed. Until the adversary's start
            its loss is 0 times something and it is not run.
        discriminator_rate: its learning rate, which is constant.
    """

    def __init__(
        self, generator: TrainStep, discriminator: TrainStep, *, discriminator_rate: float
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.discriminator_rate = discriminator_rate

    def compile(self, *inputs: np.ndarray | Tensor, compiler: Compiler = nn.Cell.compile) -> None:
        """Compile both steps without making one; see `TrainStep.compile`."""
        self.generator.compile(*inputs, compiler=compiler)
        self.discriminator.compile(*inputs, compiler=compiler)

    def __call__(
        self,
        frames: np.ndarray,
        noise: np.ndarray,
        adversarial_weight: np.ndarray,
        *,
        learning_rate: float,
        stop_vote: bool = False,
    ) -> AdversarialReport:
        """Make one step of each; `learning_rate` is the autoencoder's.

        Args:
            frames, noise, adversarial_weight: see `GeneratorLoss`.
        """
        inputs = frames, noise, adversarial_weight
        found = self.generator(*inputs, learning_rate=learning_rate, stop_vote=stop_vote)
        if not adversarial_weight.any():
            return AdversarialReport(found, None)
        other = self.discriminator(*inputs, learning_rate=self.discriminator_rate)
        return AdversarialReport(found, other)

    def export(self) -> TrainState:
        """Copy both networks and both optimizers to the host."""
        own, other = self.generator.export(), self.discriminator.export()
        prefix = f"{DISCRIMINATOR}."
        optimizer = {f"{DISCRIMINATOR}/{name}": array for name, array in other.optimizer.items()}
        return TrainState(
            model=own.model | {prefix + name: array for name, array in other.model.items()},
            optimizer=own.optimizer | optimizer,
            ema={},
        )

    def export_ema(self) -> dict[str, np.ndarray]:
        """No moving average is kept."""
        return {}

    def load(self, state: TrainState) -> None:
        """Take over a state that `export` made."""
        self.generator.load(state)
        self.discriminator.load(
            TrainState(
                model=_below(f"{DISCRIMINATOR}.", state.model),
                optimizer=_below(f"{DISCRIMINATOR}/", state.optimizer),
                ema={},
            )
        )

    def load_weights(self, model: Mapping[str, np.ndarray]) -> None:
        """Overwrite the weights of both networks."""
        self.generator.load_weights(model)
        self.discriminator.load_weights(_below(f"{DISCRIMINATOR}.", model))


AnyStep = TrainStep | AdversarialStep
AnyReport = StepReport | AdversarialReport


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
