"""Guidance of a run: its settings, its names, what it asks for, and what a forecast says of it."""

import numpy as np
import pytest

from hpc.checkpoint.format import write_checkpoint
from hpc.errors import UserError
from prediff.check import check_ranks
from prediff.config import Config, load_config
from prediff.forecasting.guidance import (
    guidance_provenance,
    load_guidance,
    requested_intensity,
    system_name,
)
from prediff.forecasting.guidance_response import intensity_figure
from prediff.run_folder import RunFolder
from prediff.stages import STAGES
from prediff.training.alignment import AlignmentBatches, alignment_schedule


def guided(source, *more):
    texts = [f"forecast.guidance.{text}" for text in (f"source={source}", *more)]
    return load_config(None, texts)


@pytest.mark.parametrize(
    ("source", "more", "name"),
    [
        ("none", (), "PreDiff"),
        ("oracle", ("factor=2",), "PreDiff, oracle-guided x 2 (uses the truth)"),
        ("trend", ("factor=1.2",), "PreDiff, guided by trend x 1.2"),
        ("number", ("value=0.25",), "PreDiff, guided to intensity 0.25"),
    ],
)
def test_tables_name_the_guidance_and_own_up_to_the_truth(source, more, name):
    assert system_name(guided(source, *more)) == name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("number",), "set value, within 0 and 1"),
        (("persistence", "value=0.2"), "leave value out"),
        (("number", "value=0.6", "factor=2"), "value times factor is 1.2"),
        (("psychic",), "source"),
    ],
)
def test_settings_that_do_not_fit_are_refused(more, message):
    with pytest.raises(UserError, match=message):
        guided(*more)


def test_members_that_influence_each_other_must_be_one_batch():
    texts = ["forecast.batch=4", "forecast.ensemble_members=8"]
    reference = ["forecast.guidance={source: trend, coupling: reference}"]
    with pytest.raises(UserError, match=r"raise forecast\.batch \(4\)"):
        load_config(None, texts + reference)
    load_config(None, [*texts[1:], "forecast.batch=8", *reference])


def test_each_source_asks_for_its_own_intensity():
    context = np.full((7, 4, 4, 1), 0.2, np.float32)
    future = np.full((6, 4, 4, 1), 0.3, np.float32)

    def asked(source, *more, climatology=0.05):
        return requested_intensity(
            guided(source, *more), context_THW1=context, future_THW1=future, climatology=climatology
        )

    assert asked("oracle", "factor=2") == pytest.approx(0.6)
    assert asked("persistence", "factor=1.2") == pytest.approx(0.24)
    assert asked("trend") == pytest.approx(0.2)
    assert asked("number", "value=0.1") == pytest.approx(0.1)
    assert asked("climatology", "factor=2") == pytest.approx(0.1)
    with pytest.raises(UserError, match="knows no climatology"):
        asked("climatology", climatology=None)


def alignment_checkpoint(folder, config, *, latent_scale):
    from prediff.models import build_alignment

    arrays = {
        name: np.array(parameter.asnumpy())
        for name, parameter in build_alignment(config).parameters_and_names()
    }
    write_checkpoint(
        folder.checkpoints("alignment"),
        step=3,
        arrays={"model": arrays},
        state={"latent_scale": latent_scale, "climatology": 0.1},
    )


def test_a_guided_forecast_says_by_what_and_without_a_network_which_command_makes_it(tmp_path):
    folder = RunFolder(tmp_path / "x")
    assert guidance_provenance(folder, Config()) == {"guidance": "none"}
    config = guided("oracle", "factor=2")
    with pytest.raises(UserError, match="`prediff train alignment --name x` first"):
        guidance_provenance(folder, config)
    alignment_checkpoint(folder, config, latent_scale=2.0)
    said = guidance_provenance(folder, config)
    assert (said["guidance"], said["guidance_factor"], said["guidance_scale"]) == ("oracle", 2, 50)
    assert (said["alignment_step"], said["guidance_coupling"]) == (3, "per_sample")
    assert "true future" in said["guidance_note"]
    assert "guidance_value" not in said

    guidance, checkpoint = load_guidance(folder, config, latent_scale=2.0)
    assert (guidance.scale, guidance.coupling) == (50.0, "per_sample")
    assert not guidance.alignment.training
    assert checkpoint.state["climatology"] == 0.1
    with pytest.raises(UserError, match="reads latents scaled by 2 and the denoiser"):
        load_guidance(folder, config, latent_scale=1.0)


def test_only_guided_runs_want_the_alignment_stage():
    stage = next(stage for stage in STAGES if stage.name == "alignment")
    assert not stage.is_wanted(Config())
    assert stage.is_wanted(guided("persistence"))
    odd = ["train_alignment.global_batch=3"]
    check_ranks(load_config(None, odd), ranks=2)
    with pytest.raises(UserError, match=r"^train_alignment: "):
        check_ranks(load_config(None, [*odd, "forecast.guidance.source=trend"]), ranks=2)


def test_flow_matching_runs_align_on_the_linear_schedule():
    straight = load_config(
        None, ["diffusion.noise_schedule=straight", "diffusion.parameterization=velocity"]
    )
    linear = load_config(None, ["diffusion.noise_schedule=linear"])
    np.testing.assert_array_equal(
        alignment_schedule(straight).signal, alignment_schedule(linear).signal
    )


class FakeLatents:
    """Windows of two target frames whose values tell the position."""

    def read(self, positions, *, samples):
        latents = np.tile(positions.astype(np.float32)[:, None, None, None, None], (1, 2, 4, 4, 3))
        return latents, latents

    def read_intensity(self, positions):
        return np.tile(positions.astype(np.float32)[:, None, None], (1, 2, 1)) / 10


def test_intensities_belong_to_the_latents_of_their_window():
    batches = AlignmentBatches(FakeLatents(), Config())
    positions, samples = np.array([4, 1]), np.array([8, 9])
    clean, noise, step, intensity, key = batches(positions, samples, 5)
    np.testing.assert_allclose(intensity, clean[:, :, 0, 0, :1] / 10)
    assert (noise.shape, step.shape, key.shape) == (clean.shape, (2,), (2,))
    again = batches(positions[1:], samples[1:], 5)
    for whole, part in zip((clean, noise, step, intensity, key), again, strict=True):
        np.testing.assert_array_equal(whole[1:], part)


def test_requested_against_obtained_is_drawn_with_a_line_a_case():
    rows = [
        {"case": case, "requested": asked, "obtained": [asked / 2, asked], "mean": 0.75 * asked}
        for case in ("a", "b")
        for asked in (0.4, 0.1)
    ]
    axis = intensity_figure(rows, title="guided").axes[0]
    joined = [line for line in axis.lines if line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in joined] == [[0.1, 0.4]] * 2
    np.testing.assert_allclose(joined[0].get_ydata(), [0.075, 0.3])
