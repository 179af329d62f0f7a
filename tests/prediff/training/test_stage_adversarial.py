"""The VAE-GAN's step: two optimizers that the training loop drives and saves as one."""

import mindspore as ms
import numpy as np
import pytest

from prediff.config import Config, load_config
from prediff.models import build_autoencoder
from prediff.training.adversarial_step import AdversarialStep
from prediff.training.autoencoder import AdversarialBatches, build_step

TEXTS = [
    "data.frame_size=24",
    "autoencoder={latent_channels: 2, widths: [4, 4], norm_groups: 2}",
    "train_autoencoder.global_batch=2",
    "train_autoencoder.adversarial={start_step: 1, base_width: 4, learning_rate: 1e-3}",
]
CONFIG = load_config(None, TEXTS)


def make_step():
    autoencoder = build_autoencoder(CONFIG)
    return build_step(autoencoder, CONFIG), autoencoder


def inputs(number):
    random = np.random.RandomState(number)
    frames = random.rand(2, 24, 24, 1).astype(np.float32)
    noise = random.standard_normal((2, 12, 12, 2)).astype(np.float32)
    return frames, noise, np.full(2, number >= 1, np.float32)


@pytest.fixture(scope="module")
def run():
    """Three steps, with the state before and after each."""
    ms.set_context(mode=ms.GRAPH_MODE)
    step, _ = make_step()
    states, reports = [step.export()], []
    for number in range(3):
        reports.append(step(*inputs(number), learning_rate=1e-3, stop_vote=number == 2).read())
        states.append(step.export())
    return step, states, reports


def changed(before, after, prefix):
    return [
        name
        for name in before.model
        if name.startswith("discriminator.") == (prefix == "discriminator.")
        and not np.array_equal(before.model[name], after.model[name])
    ]


@pytest.mark.slow
def test_the_discriminator_starts_at_its_step_and_the_autoencoder_at_once(run):
    _, states, reports = run
    assert changed(states[0], states[1], "") != []
    assert changed(states[0], states[1], "discriminator.") == []
    assert "discriminator_loss" not in reports[0]
    assert changed(states[1], states[2], "discriminator.") != []
    assert changed(states[1], states[2], "") != []
    assert states[3].optimizer["updates"] == 3
    assert states[3].optimizer["discriminator/updates"] == 2
    assert [report["stop_votes"] for report in reports] == [0, 0, 1]
    curves = {"loss", "generator_score", "adaptive_weight", "mean_absolute_error"}
    mine = {f"discriminator_{n}" for n in ("loss", "grad_norm", "real_score")}
    assert curves | mine <= set(reports[1])
    assert all(np.isfinite(list(report.values())).all() for report in reports)


@pytest.mark.slow
def test_a_step_goes_on_from_a_saved_state_as_if_nothing_had_happened(run):
    step, states, reports = run
    step.load(states[2])
    for name, array in step.export().optimizer.items():
        np.testing.assert_array_equal(array, states[2].optimizer[name], err_msg=name)
    assert step(*inputs(2), learning_rate=1e-3, stop_vote=True).read() == reports[2]
    for name, array in step.export().model.items():
        np.testing.assert_array_equal(array, states[3].model[name], err_msg=name)


def test_later_stages_find_the_autoencoder_under_its_own_names():
    step, autoencoder = make_step()
    names = set(dict(autoencoder.parameters_and_names()))
    others = set(step.export().model) - names
    assert others
    assert all(name.startswith("discriminator.") for name in others)


def test_the_adversary_weighs_nothing_before_its_first_step():
    batches = AdversarialBatches(lambda positions, samples, step: (positions,), start_step=3)
    weights = [batches(np.arange(2), np.arange(2), step)[-1].tolist() for step in (2, 3)]
    assert weights == [[0, 0], [1, 1]]


def test_without_a_start_step_there_is_no_adversary():
    assert not isinstance(build_step(build_autoencoder(CONFIG), Config()), AdversarialStep)
