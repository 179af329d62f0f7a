"""What TensorBoard gets: the same tags for every task, what they mean, and one row of settings."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.monitor.training_curves import (
    DESCRIPTIONS,
    LAYOUT,
    flat_settings,
    step_curves,
    validation_curves,
)


def points() -> dict[str, float]:
    return step_curves(
        {"loss": 0.5, "grad_norm": 2.0, "kl_divergence": 0.1},
        learning_rate=1e-3,
        epoch=0.5,
        health={"skipped_steps": 0},
        speed={"samples_per_second": 8.0},
    ) | validation_curves({"loss": 0.6, "loss_ema": 0.55, "mean_squared_error": 0.2})


def read(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def test_no_tag_names_the_task_and_the_loss_comes_first():
    tags = points()
    groups = sorted({tag.split("/")[0] for tag in tags})
    assert groups == ["loss", "loss_parts", "optimizer", "speed", "validation"]
    assert sorted(tags)[0] == "loss/training"
    assert tags["loss/training"] == 0.5
    assert (tags["loss/validation"], tags["loss/validation_ema"]) == (0.6, 0.55)
    assert tags["validation/loss_ema"] == 0.55


def test_events_hold_values_descriptions_texts_layout_and_hyperparameters(tmp_path):
    with TensorBoardWriter(tmp_path) as board:
        board.layout(LAYOUT)
        board.text("configuration", "seed: 0")
        board.hyperparameters(flat_settings({"a": {"b": 1, "c": [1, 2], "d": None}, "e": True}))
        for step in (1, 2):
            board.scalars(points(), step=step)
        board.picture("pictures/forecast_0", np.zeros((4, 6, 3), np.uint8), step=1)
    events = read(tmp_path)
    assert [event.step for event in events.Scalars("loss/training")] == [1, 2]
    assert events.Scalars("loss/validation")[0].value == np.float32(0.6)
    described = events.SummaryMetadata("optimizer/grad_norm").summary_description
    assert described == DESCRIPTIONS["optimizer/grad_norm"]
    assert {"configuration/text_summary", "custom_scalars__config__"} <= set(
        events.Tags()["tensors"]
    )
    (start,) = (
        content
        for tag, content in events.PluginTagToContent("hparams").items()
        if tag == hparams_metadata.SESSION_START_INFO_TAG
    )
    found = hparams_metadata.parse_session_start_info_plugin_data(start).hparams
    assert found["a.b"].number_value == 1
    assert found["a.c"].string_value == "[1, 2]"
    assert found["e"].bool_value
    assert "a.d" not in found


def test_every_chart_of_the_layout_shows_tags_that_are_written():
    written = set(points()) | {
        "loss/validation_ema",
        "speed/data_wait_share",
        "time/goodput",
    }
    for charts in LAYOUT.values():
        for kind, tags in charts.values():
            assert kind == "Multiline"
            assert set(tags) <= written


def test_a_writer_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TensorBoardWriter(None) as board:
        board.layout(LAYOUT)
        board.hyperparameters({"a": 1})
        board.scalars(points(), step=0)
    assert not list(tmp_path.iterdir())
