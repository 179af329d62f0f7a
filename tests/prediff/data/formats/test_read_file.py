"""Files of weather services come out right to the code value, the pixel and the minute."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from service_files import (
    COLUMNS,
    ROWS,
    bom_file,
    gif_file,
    knmi_file,
    mrms_file,
    odim_file,
    pgm_file,
    radolan_file,
    tiff_file,
)

from hpc.errors import UserError
from prediff.data.formats.read_file import read_images
from prediff.data.quantity import RAIN_RATE, REFLECTIVITY

pyproj = pytest.importorskip("pyproj")

REAL = Path(os.environ.get("PREDIFF_RADAR_FORMATS", "no/such/folder"))
"""One real file of each format, where there are some; see docs/data.md."""


def only(path):
    (image,) = read_images(path)
    return image


def check_pattern(image, *, wet, dry):
    """One wet pixel in the south-west, one missing in the north-east, the rest dry."""
    assert image.values[0, 0] == pytest.approx(wet, rel=1e-5)
    assert np.isnan(image.values[-1, -1])
    rest = image.values.copy()
    rest[0, 0], rest[-1, -1] = dry, dry
    assert (rest <= dry).all()


def test_odim_reflectivity_is_calibrated_undetect_dry_and_nodata_missing(tmp_path):
    image = only(odim_file(tmp_path / "a.h5"))
    check_pattern(image, wet=28.0, dry=REFLECTIVITY.dry)
    assert image.time == np.datetime64("2020-06-01T12:00")
    assert image.quantity is REFLECTIVITY
    assert image.grid.pixel == pytest.approx((2000, 2000))
    lon, lat = pyproj.Proj(image.grid.projection)(
        image.grid.x[0] - 1000, image.grid.y[0] - 1000, inverse=True
    )
    assert (lon, lat) == pytest.approx((9, 55), abs=1e-6)


def test_odim_sums_become_rates_by_their_interval(tmp_path):
    image = only(odim_file(tmp_path / "a.h5", quantity="ACRR", gain=0.1, offset=0.0))
    check_pattern(image, wet=12.0 * 12, dry=0)
    assert (image.quantity, image.accumulated_minutes) == (RAIN_RATE, 5)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("what", "object"),
        ("what", "date"),
        ("where", "projdef"),
        ("where", "LL_lat"),
        ("dataset1/data1/what", "gain"),
        ("dataset1/data1/what", "undetect"),
        ("dataset1/data1/what", "quantity"),
    ],
)
def test_an_odim_attribute_that_is_missing_is_named(tmp_path, group, name):
    path = odim_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[group].attrs[name]
    with pytest.raises(UserError, match=f"{name}|no quantity") as caught:
        read_images(path)
    assert "\n" not in str(caught.value)


def test_a_projection_that_proj_does_not_know_is_refused(tmp_path):
    path = odim_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["where"].attrs["projdef"] = np.bytes_("+proj=unheard")
    with pytest.raises(UserError, match="PROJ does not know"):
        read_images(path)


def test_a_polar_volume_is_no_composite(tmp_path):
    path = odim_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["what"].attrs["object"] = np.bytes_("PVOL")
    with pytest.raises(UserError, match="PVOL, expected a composite"):
        read_images(path)


def test_knmi_accumulations_are_rates_in_metres_and_north_first_is_turned(tmp_path):
    image = only(knmi_file(tmp_path / "a.h5"))
    check_pattern(image, wet=1.2 * 12, dry=0)
    assert image.time == np.datetime64("2010-08-26T00:00")
    assert image.grid.y[-1] == pytest.approx(-3_650_500)
    with pytest.raises(UserError, match="calibrated by 'GEO=PV"):
        read_images(knmi_file(tmp_path / "b.h5", formula="GEO=PV^2"))


def test_fmi_grey_maps_are_dbz_between_their_corners(tmp_path):
    image = only(pgm_file(tmp_path / "a.pgm.gz"))
    check_pattern(image, wet=28.0, dry=-32.0)
    assert image.time == np.datetime64("2016-09-28T14:45")
    assert image.values.shape == (ROWS, COLUMNS)
    data = (tmp_path / "a.pgm.gz").read_bytes()
    (tmp_path / "cut.pgm.gz").write_bytes(data[:-30])
    with pytest.raises(UserError, match="truncated"):
        read_images(tmp_path / "cut.pgm.gz")


@pytest.mark.parametrize(("product", "factor"), [("RY", 0.01 * 12), ("RW", 0.1)])
def test_radolan_s_flags_and_precision_are_read(tmp_path, product, factor):
    image = only(radolan_file(tmp_path / "a", product=product))
    assert image.values[0, 0] == pytest.approx(120 * factor)
    assert np.isnan(image.values[-1, -1])
    assert np.isnan(image.values[2, 2])
    assert image.values[1, 1] == 0
    assert image.time == np.datetime64("2014-08-10T20:50")
    assert image.grid.x[0] == pytest.approx(-522_962.2)
    with pytest.raises(UserError, match="truncated"):
        read_images(radolan_file(tmp_path / "b", missing_pixels=7))


def test_swiss_pictures_take_code_from_the_palette_and_time_from_the_name(tmp_path):
    image = only(gif_file(tmp_path))
    check_pattern(image, wet=(10 ** ((101 - 71.5) / 20) / 316) ** (1 / 1.5) * 12, dry=0)
    assert image.time == np.datetime64("2016-07-11T20:45")
    path = gif_file(tmp_path).rename(tmp_path / "rain.gif")
    with pytest.raises(UserError, match="the time is in the name"):
        read_images(path)
    with pytest.raises(UserError, match="over how many minutes"):
        read_images(gif_file(tmp_path, minutes=None))


def test_geotiff_takes_calibration_and_time_from_its_metadata(tmp_path):
    pytest.importorskip("rasterio")
    image = only(tiff_file(tmp_path / "a.tif"))
    check_pattern(image, wet=28.0, dry=REFLECTIVITY.dry)
    assert image.time == np.datetime64("2016-09-28T14:45")
    assert (image.grid.x[0], image.grid.y[-1]) == (300_500, 6_699_500)
    with pytest.raises(UserError, match="does not say its units"):
        read_images(tiff_file(tmp_path / "b.tif", units=None))


def test_mrms_rain_lies_in_america_and_negative_codes_are_missing(tmp_path):
    pytest.importorskip("cfgrib")
    image = only(mrms_file(tmp_path / "a.grib2"))
    assert image.values[0, 0] == pytest.approx(12.0, abs=0.01)
    assert np.isnan(image.values[-1, -1])
    assert image.time == np.datetime64("2019-06-10T00:00")
    assert image.grid.y[0] == pytest.approx(54.945)
    with pytest.raises(UserError, match="expected MRMS's rain rate"):
        read_images(mrms_file(tmp_path / "b.grib2", category=9))


def test_cf_accumulations_need_their_interval(tmp_path):
    image = only(bom_file(tmp_path / "a.nc"))
    check_pattern(image, wet=120 * 0.05 * 6, dry=0)
    assert image.time == np.datetime64("2020-10-31T00:10")
    assert image.grid.pixel == pytest.approx((500, 500))
    with pytest.raises(UserError, match="does not say over which time"):
        read_images(bom_file(tmp_path / "b.nc", start=False))


@pytest.mark.parametrize("make", [odim_file, knmi_file, bom_file, pgm_file, radolan_file])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.9])
def test_a_truncated_file_is_one_line(tmp_path, make, kept):
    whole = make(tmp_path / "whole")
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError) as caught:
        read_images(whole)
    assert "\n" not in str(caught.value)


def test_what_is_none_of_these_is_refused(tmp_path):
    (tmp_path / "a.nc").write_text("rain, rain")
    with pytest.raises(UserError, match="is none of ODIM HDF5"):
        read_images(tmp_path / "a.nc")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real files here")
@pytest.mark.parametrize(
    ("pattern", "quantity", "time", "shape", "largest"),
    [
        ("T_PAAH21*", RAIN_RATE, "2018-08-24T18:00", (2200, 1900), 1205.22),
        ("RAD_NL25*", RAIN_RATE, "2010-08-26T00:00", (765, 700), 8.64),
        ("66_2020*", RAIN_RATE, "2020-10-31T00:00", (512, 512), 16.5),
        ("2016*.pgm.gz", REFLECTIVITY, "2016-09-28T14:45", (1226, 760), 49.0),
        ("AQC*", RAIN_RATE, "2016-07-11T20:45", (640, 710), 91.7747),
        ("raa01-rw*", RAIN_RATE, "2014-08-10T20:50", (900, 900), 38.6),
        ("raa01-ry*", RAIN_RATE, "2014-08-10T20:50", (900, 900), 129.48),
    ],
)
def test_real_files_hold_what_their_services_say(pattern, quantity, time, shape, largest):
    (path,) = REAL.glob(pattern)
    image = only(path)
    assert image.quantity is quantity
    assert image.time == np.datetime64(time)
    assert image.values.shape == shape
    assert np.nanmax(image.values) == pytest.approx(largest, rel=1e-4)
