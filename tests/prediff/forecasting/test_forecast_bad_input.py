"""What the command says of frames, runs and protocols that do not fit: one line, and code 2."""

import pytest
from radar_files import START, radar_file, radar_frames
from untrained_run import untrained_run

from prediff.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Make a folder with runs/small, which has data, and runs/bare, which has no EMA weights."""
    folder = tmp_path_factory.mktemp("job")
    settings = ("data.frame_size=32", "autoencoder.widths=[4, 8, 8]")
    untrained_run(folder / "runs" / "small", *settings, data=True)
    untrained_run(folder / "runs" / "bare", *settings, ema=False)
    return folder


@pytest.fixture
def refusal(runs, monkeypatch, capsys):
    """Return a function that runs a command and returns the one line that it was refused with."""
    monkeypatch.chdir(runs)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["prediff", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return run


def frames(*arguments, **options):
    return radar_frames(*arguments, **{"size": 32} | options)


@pytest.mark.parametrize(
    ("radar", "said"),
    [
        (frames(2), "holds 2 frames, the model takes 3"),
        (frames(5), "holds 5 frames, the model takes 3: choose the time of the last one, --at"),
        (frames(size=48), "frames of 48x48, the model takes 32x32 or a whole multiple"),
        (frames(size=16), "frames of 16x16, the model takes 32x32"),
        (frames(size=64).isel(x=slice(32)), "frames of 64x32, the model takes 32x32"),
        (frames(minutes=5), "5 minutes apart, the model was trained on 10 minutes"),
        (frames(4).isel(time=[0, 1, 3]), "frames are missing"),
        (frames(units="dBZ"), "is reflectivity (dBZ), the run takes"),
        (frames() - 32, "are the values dBZ?"),
        (frames(units="mm/h"), "is rain rate (mm/h), the run takes"),
        (frames().where(frames().time > START), "frame 2020-06-01 12:00 has no valid pixel"),
        (frames().drop_vars("time"), "has no times: add the coordinate `time`"),
        (frames().assign_coords(time=[0, 10, 20]), "not a time with CF units"),
        (frames().isel(y=0), "needs one variable (time, y, x)"),
    ],
)
def test_frames_that_do_not_fit(refusal, tmp_path, radar, said):
    source = radar_file(tmp_path / "radar.nc", radar.rename("vil_code"))
    out = tmp_path / "forecast.nc"
    line = refusal("forecast", "--checkpoint", "small", "--input", source, "--out", out)
    assert said in line
    assert str(source) in line
    assert not out.exists()


def test_a_run_without_ema_names_the_setting_that_helps(refusal, tmp_path):
    source = radar_file(tmp_path / "radar.nc", frames())
    words = ["--checkpoint", "bare", "--input", source, "--out", tmp_path / "forecast.nc"]
    assert "no ema weights: set forecast.weights=raw" in refusal("forecast", *words)


@pytest.mark.parametrize("workers", [1, 2])
def test_files_that_cannot_be_read_or_written(refusal, tmp_path, workers):
    words = ["forecast", "--checkpoint", "small", "--workers", workers]
    torn = tmp_path / "torn.nc"
    torn.write_bytes(radar_file(tmp_path / "radar.nc", frames()).read_bytes()[:3000])
    for source, out, said in (
        ("absent.nc", "f.nc", "no radar file at absent.nc"),
        (torn, "f.nc", "torn.nc is truncated or no HDF5 file"),
        (tmp_path / "radar.nc", "f.grib", "f.grib: a forecast is written as .nc or .zarr"),
    ):
        assert said in refusal(*words, "--input", source, "--out", out)


def test_a_protocol_that_the_data_cannot_serve(refusal):
    said = "protocol 'prediff2023' needs context_frames = 7, the data has 3"
    assert said in refusal("evaluate", "--name", "small", "--protocol", "prediff2023")
