"""Pictures: SEVIR's colours exactly, and figures of the right make."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verification_oracles import storms

from hpc.errors import UserError
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY
from prediff.data.vil import vil_to_water
from prediff.evaluation.score_plots import score_figures
from prediff.pictures import (
    Ground,
    case_animation,
    case_panel,
    figure_to_png,
    figure_to_rgb,
    radar_rgb,
)
from prediff.pictures.colours import MISSING_COLOUR, RADAR_COLOURS, VIL_LEVELS, radar_colour_map
from prediff.pictures.figures import draw, new_figure
from prediff.verification import Scoreboard

DATA = Path(__file__).parents[2] / "data" / "verification"


@pytest.fixture(scope="module")
def case():
    frames = storms(1, (7, 32, 32))
    ensemble = np.clip(frames[4:][None] + 0.1 * storms(2, (4, 3, 32, 32)), 0, 1)
    return {
        "context": frames[:4],
        "observation": frames[4:],
        "forecasts": {"model": ensemble, "persistence": np.repeat(frames[3:4], 3, 0)[None]},
        "context_minutes": (-30, -20, -10, 0),
        "lead_minutes": (10, 20, 30),
    }


def test_every_vil_value_has_the_reference_colour():
    reference = json.loads((DATA / "reference_metrics.json").read_text())
    coded = (np.arange(256, dtype=np.uint8) / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(radar_rgb(coded), reference["vil_rgb_0_255"])
    assert list(VIL_LEVELS) == reference["vil_levels"]
    colour_map, norm = radar_colour_map()
    bar = np.rint(np.array(colour_map(norm(np.arange(256))))[:, :3] * 255)
    np.testing.assert_array_equal(bar, reference["vil_rgb_0_255"])


def test_values_outside_take_the_end_colours_and_missing_is_none_of_them():
    np.testing.assert_array_equal(
        radar_rgb(np.array([-0.2, 1.3, np.nan])), [[77, 77, 77], [231, 0, 255], MISSING_COLOUR]
    )


def test_water_follows_the_coding_of_sevir():
    water = vil_to_water(np.array([0, 5, 18, 84, 254]))
    np.testing.assert_allclose(water, [0, 0, 16 / 90.66, 1.0, 79.3], rtol=0.01)


def test_a_panel_has_a_row_for_radar_members_mean_and_probability(case):
    figure = case_panel(**case, members_shown=2)
    labels = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert [label.replace("\n", " ") for label in labels[:7]] == [
        "radar before",
        "radar then",
        "model member 1",
        "model member 2",
        "model mean of 4",
        "persistence",
        "model P(≥ 74)",
    ]
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["-30 min", "-20 min", "-10 min", "now", "+10 min", "+20 min", "+30 min"]
    image = figure_to_rgb(figure)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    # The storm's greens are really drawn.
    assert (image == (40, 190, 40)).all(axis=-1).sum() > 1000


def test_long_sequences_are_thinned_to_first_and_last(case):
    long = np.repeat(case["observation"], 8, axis=0)
    figure = case_panel(
        context=case["context"],
        observation=long,
        forecasts={"persistence": long[None]},
        context_minutes=case["context_minutes"],
        lead_minutes=range(5, 121, 5),
        columns=5,
    )
    titles = [axis.get_title() for axis in figure.axes if axis.get_title().startswith("+")]
    assert (len(titles), titles[0], titles[-1]) == (5, "+5 min", "+120 min")


def test_a_forecast_of_other_frames_is_refused(case):
    with pytest.raises(UserError, match=r"'model' .* does not fit the observation"):
        case_panel(**(case | {"forecasts": {"model": np.zeros((2, 9, 32, 32))}}))


def test_the_animation_plays_the_context_and_then_the_forecasts(case):
    movie = Image.open(BytesIO(case_animation(**case, members_shown=1)))
    assert movie.n_frames == 7
    assert movie.info["loop"] == 0
    movie.seek(6)
    page = np.array(movie.convert("RGB"))
    # Whole multiples of the 32 x 32 frame, in exact colours: radar, member, mean, persistence.
    scale = 256 // 32
    # Row 0 is the southern one, so it is drawn last.
    expected = radar_rgb(case["observation"][-1, ::-1]).repeat(scale, axis=0).repeat(scale, axis=1)
    np.testing.assert_array_equal(page[52 : 52 + 256, 6 : 6 + 256], expected)
    assert page.shape[1] == 4 * (256 + 6) + 6


def test_missing_pixels_can_be_drawn(case):
    holes = case["observation"].copy()
    holes[:, :4] = np.nan
    figure_to_rgb(case_panel(**(case | {"observation": holes})))
    case_animation(**(case | {"observation": holes}))


def test_plots_are_drawn_for_ordinary_and_for_empty_weather(case):
    for factor in (1.0, 0.0):
        board = Scoreboard(lead_minutes=case["lead_minutes"])
        for number in range(2):
            board.update(
                forecasts={
                    name: factor * ensemble[None] for name, ensemble in case["forecasts"].items()
                },
                observation=factor * case["observation"][None],
                event_ids=[str(number)],
            )
        tables = board.tables(replicates=10)
        figures = score_figures(tables, kilometres_per_pixel=3)
        assert list(figures) == [
            "scores_by_lead_time",
            "performance_diagram",
            "power_spectra",
            "spread_and_skill",
            "roc_model",
            "reliability_model",
            "rank_histogram_model",
        ]
        if factor:
            error, spread = figures["spread_and_skill"].axes[0].get_lines()
            assert error.get_label() == "model, error of the mean"
            scores = tables["systems"]["model"]["scores"]["ensemble"]
            np.testing.assert_allclose(error.get_ydata(), scores["skill"]["by_lead_time"])
            members = tables["systems"]["model"]["members"]
            expected = np.sqrt((members + 1) / members) * np.array(scores["spread"]["by_lead_time"])
            np.testing.assert_allclose(spread.get_ydata(), expected, rtol=1e-6)
    for figure in figures.values():
        assert figure_to_png(figure).startswith(b"\x89PNG")


def test_a_northern_corner_is_drawn_at_the_top_whichever_way_the_rows_run():
    frame = np.zeros((4, 6))
    frame[0, 0] = 1.0
    assert Ground(rows_northward=True).upright(frame)[-1, 0] == 1
    assert Ground(rows_northward=False).upright(frame)[0, 0] == 1
    northward = Ground.of_axes(y=[-1500.0, 1500.0], x=[0.0, 3000.0, 6000.0])
    assert northward == Ground(rows_northward=True, kilometres_per_pixel=3)
    assert not Ground.of_axes(y=[3.0, 2.0], x=[0.0, 1.0]).rows_northward


@pytest.mark.parametrize("northward", [True, False])
def test_panels_and_animations_have_north_up(case, northward):
    storm = {name: np.zeros_like(case[name]) for name in ("context", "observation")}
    north = -1 if northward else 0
    for frames in storm.values():
        frames[:, north, :] = 1.0
    scene = case | storm | {"forecasts": {"persistence": storm["observation"][None]}}
    ground = Ground(rows_northward=northward, kilometres_per_pixel=2)
    panel = case_panel(**scene, ground=ground)
    for axis in panel.axes[:3]:
        picture = axis.get_images()[0].get_array()
        assert (picture[0] == RADAR_COLOURS[-1]).all()
        assert (picture[-1] == RADAR_COLOURS[0]).all()
        assert axis.get_images()[0].origin == "upper"
    assert panel.axes[0].texts[0].get_text() == "10 km"
    movie = Image.open(BytesIO(case_animation(**scene, ground=ground)))
    page = np.array(movie.convert("RGB"))
    assert tuple(page[53, 10]) == RADAR_COLOURS[-1]


@pytest.mark.parametrize(
    ("width", "kilometres", "expected"), [(64, 6, "100 km"), (384, 1, "100 km")]
)
def test_a_scale_bar_is_a_round_number_of_kilometres(width, kilometres, expected):
    length, text = Ground(kilometres_per_pixel=kilometres).scale_bar(width)
    assert text == expected
    assert length * kilometres == float(text.split()[0])
    assert Ground().scale_bar(width) is None


@pytest.mark.parametrize("quantity", [REFLECTIVITY, RAIN_RATE])
def test_other_quantities_change_colour_at_their_own_levels(quantity):
    for number, level in enumerate(quantity.levels[1:-1], 1):
        at = quantity.encode(level) / 255
        assert tuple(radar_rgb(np.array(at), quantity=quantity)) == RADAR_COLOURS[number]
        below = (quantity.encode(level) - 0.5) / 255
        assert tuple(radar_rgb(np.array(below), quantity=quantity)) == RADAR_COLOURS[number - 1]


def test_a_missing_pixel_has_no_probability_and_stands_in_the_legend(case):
    holes = case["forecasts"]["model"].copy()
    holes[:, :, 0] = np.nan
    panel = case_panel(**(case | {"forecasts": {"model": holes}}))
    shares = [axis for axis in panel.axes if axis.get_ylabel().startswith("model\nP")]
    assert np.ma.getmaskarray(shares[0].get_images()[0].get_array())[-1].all()
    assert [text.get_text() for text in panel.legends[0].get_texts()] == ["missing"]


@pytest.mark.parametrize("title", [r"R$\evil$1", "$", "$$", r"$\frac{1}{2}$", "a_b^c"])
def test_a_name_with_dollar_signs_is_drawn_as_it_stands(title):
    figure = new_figure(width=3, height=2)
    axes = figure.subplots()
    axes.set_title(title)
    axes.plot([1, 10, 100], [1, 2, 3], label=title)
    axes.legend()
    axes.set_xscale("log")
    draw(figure)
    assert not axes.title.get_parse_math()
    assert any(label.get_parse_math() for label in axes.get_xticklabels())
