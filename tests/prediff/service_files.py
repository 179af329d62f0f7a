"""Small files as weather services write them, made from their specifications."""

import gzip
from pathlib import Path

import h5py
import numpy as np

ROWS, COLUMNS = 6, 5
LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
NODATA, UNDETECT = 255, 0


def north_first_codes() -> np.ndarray:
    """Bytes ``[6, 5]`` as files store them: row 0 in the north, one wet pixel in the south-west."""
    codes = np.full((ROWS, COLUMNS), UNDETECT, np.uint8)
    codes[-1, 0] = 120
    codes[0, -1] = NODATA
    return codes


def odim_file(
    path: Path,
    *,
    quantity: str = "DBZH",
    time: str = "120000",
    gain: float = 0.5,
    offset: float = -32.0,
    codes: np.ndarray | None = None,
    scale: float = 2000.0,
) -> Path:
    """Write an ODIM 2.3 composite of ``[6, 5]`` pixels over Denmark."""
    import pyproj

    codes = north_first_codes() if codes is None else codes
    rows, columns = codes.shape
    west, south = pyproj.Transformer.from_crs(
        pyproj.CRS(LAEA).geodetic_crs, LAEA, always_xy=True
    ).transform(9.0, 55.0)
    back = pyproj.Transformer.from_crs(LAEA, pyproj.CRS(LAEA).geodetic_crs, always_xy=True)
    corners = {
        "LL": (west, south),
        "LR": (west + columns * scale, south),
        "UL": (west, south + rows * scale),
        "UR": (west + columns * scale, south + rows * scale),
    }
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_3")
        what = file.create_group("what").attrs
        what["object"], what["version"] = np.bytes_("COMP"), np.bytes_("H5rad 2.3")
        what["date"], what["time"] = np.bytes_("20200601"), np.bytes_(time)
        what["source"] = np.bytes_("ORG:247")
        where = file.create_group("where").attrs
        where["projdef"] = np.bytes_(LAEA)
        where["xsize"], where["ysize"] = columns, rows
        where["xscale"], where["yscale"] = scale, scale
        for name, (x, y) in corners.items():
            where[f"{name}_lon"], where[f"{name}_lat"] = back.transform(x, y)
        own = file.create_group("dataset1/data1/what").attrs
        own["quantity"] = np.bytes_(quantity)
        own["gain"], own["offset"] = gain, offset
        own["nodata"], own["undetect"] = float(NODATA), float(UNDETECT)
        times = file.create_group("dataset1/what").attrs
        times["startdate"] = times["enddate"] = np.bytes_("20200601")
        times["starttime"], times["endtime"] = np.bytes_("115500"), np.bytes_("120000")
        file["dataset1/data1/data"] = codes
    return path


def knmi_file(path: Path, *, formula: str = "GEO=0.01*PV+0.0") -> Path:
    """Write a KNMI accumulation of 5 minutes in the north first."""
    codes = north_first_codes().astype(np.uint16)
    codes[codes == NODATA] = 65535
    with h5py.File(path, "w") as file:
        overview = file.create_group("overview").attrs
        overview["product_datetime_start"] = np.bytes_("25-AUG-2010;23:55:00.000")
        overview["product_datetime_end"] = np.bytes_("26-AUG-2010;00:00:00.000")
        place = file.create_group("geographic").attrs
        place["geo_number_rows"], place["geo_number_columns"] = (
            np.int32([ROWS]),
            np.int32([COLUMNS]),
        )
        place["geo_pixel_size_x"], place["geo_pixel_size_y"] = np.float32([1]), np.float32([-1])
        place["geo_column_offset"], place["geo_row_offset"] = np.float32([0]), np.float32([3650])
        place["geo_dim_pixel"] = np.bytes_("KM,KM")
        file.create_group("geographic/map_projection").attrs["projection_proj4_params"] = np.bytes_(
            "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
        )
        image = file.create_group("image1")
        image.attrs["image_geo_parameter"] = np.bytes_("ACCUMULATED_PRECIPITATION_[MM]")
        image["image_data"] = codes
        calibration = image.create_group("calibration").attrs
        calibration["calibration_formulas"] = np.bytes_(formula)
        calibration["calibration_missing_data"] = np.int32([65535])
        calibration["calibration_out_of_image"] = np.int32([65535])
    return path


def pgm_file(path: Path) -> Path:
    """Write FMI's grey map, packed by gzip, its corners 5 by 6 km apart."""
    header = (
        "P5\n# obstime 201609281445\n# missingval 255\n# projection radar {\n# type stereographic\n"
        "# centrallongitude 25\n# centrallatitude 90\n# truelatitude 60\n"
        "# bottomleft 18.600000 57.930000\n# topright 34.903000 69.005000\n# }\n"
        f"{COLUMNS} {ROWS}\n255\n"
    )
    with gzip.open(path, "wb") as file:
        file.write(header.encode() + north_first_codes().tobytes())
    return path


def radolan_file(path: Path, *, product: str = "RY", missing_pixels: int = 1) -> Path:
    """Write a RADOLAN composite: south first, one wet pixel in the south-west, some missing."""
    values = np.zeros((900, 900), "<u2")
    values[0, 0] = 120
    values[-1, -1] = 0x29C4
    values[1, 1] = 0x4000 | 5
    values[2, 2] = 0x8000 | 7
    interval, precision = {"RY": (5, 2), "RW": (60, 1)}[product]
    header = (
        f"{product}102050100000814BY1620134VS 3SW   2.13.1PR E-{precision:02d}INT{interval:4d}"
        "GP 900x 900MS 10<boo,ros>"
    )
    body = values.tobytes()[: 2 * (900 * 900 - missing_pixels + 1)]
    path.write_bytes(header.encode() + b"\x03" + body)
    return path


def gif_file(folder: Path, *, minutes: int | None = 5) -> Path:
    """Write MeteoSwiss's picture of 2016-07-11 20:45, one wet pixel in the south-west."""
    from PIL import Image

    codes = np.zeros((640, 710), np.uint8)
    codes[-1, 0], codes[0, -1] = 101, 255
    picture = Image.fromarray(codes, "P")
    picture.putpalette([value for code in range(256) for value in (code, 0, 255 - code)])
    path = folder / "AQC161932045V_00005.801.gif"
    said = b"" if minutes is None else f"PRDT=AQC ACCUm={minutes:06d}".encode()
    picture.save(path, comment=said, optimize=False)
    return path


def tiff_file(path: Path, *, units: str | None = "dBZ") -> Path:
    """Write a GeoTIFF with FMI's metadata."""
    import rasterio
    from rasterio.transform import from_origin

    with rasterio.open(
        path, "w", driver="GTiff", width=COLUMNS, height=ROWS, count=1, dtype="uint8",
        crs="EPSG:3067", transform=from_origin(300_000, 6_700_000, 1000, 1000),
    ) as file:  # fmt: skip
        file.write(north_first_codes(), 1)
        said = "" if units is None else f'<Item name="Quantity" unit="{units}">Reflectivity</Item>'
        file.update_tags(
            GDAL_METADATA='<GDALMetadata><Item name="Observation time" format="YYYYMMDDhhmm">'
            '201609281445</Item><Item name="Gain">0.5</Item><Item name="Offset">-32.0</Item>'
            f'<Item name="Nodata">255</Item><Item name="Undetect">0</Item>{said}</GDALMetadata>'
        )
    return path


def mrms_file(path: Path, *, category: int = 6) -> Path:
    """Write a GRIB2 message of MRMS's rain rate by eccodes: north first, longitudes past 180."""
    import eccodes

    values = np.where(north_first_codes() == NODATA, -3.0, north_first_codes() / 10)
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    for key, value in {
        "centre": 161, "discipline": 209, "parameterCategory": category, "parameterNumber": 1,
        "dataDate": 20190610, "dataTime": 0, "Ni": COLUMNS, "Nj": ROWS,
        "latitudeOfFirstGridPointInDegrees": 54.995, "latitudeOfLastGridPointInDegrees": 54.945,
        "longitudeOfFirstGridPointInDegrees": 230.005, "longitudeOfLastGridPointInDegrees": 230.045,
        "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01,
    }.items():  # fmt: skip
        eccodes.codes_set(message, key, value)
    eccodes.codes_set(message, "bitsPerValue", 16)
    eccodes.codes_set_values(message, values.ravel().astype(float))
    with path.open("wb") as file:
        eccodes.codes_write(message, file)
    eccodes.codes_release(message)
    return path


def bom_file(path: Path, *, start: bool = True) -> Path:
    """Write an accumulation as the Bureau of Meteorology does: kilometres, north first."""
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", ROWS)
        file.createDimension("x", COLUMNS)
        for name, metres in (("y", np.arange(ROWS)[::-1]), ("x", np.arange(COLUMNS))):
            axis = file.createVariable(name, "f8", (name,))
            axis.standard_name, axis.units = f"projection_{name}_coordinate", "km"
            axis[:] = 0.5 * metres
        times = [("valid_time", 600)] + ([("start_time", 0)] if start else [])
        for name, seconds in times:
            time = file.createVariable(name, "i4", ())
            time.units = "seconds since 2020-10-31 00:00:00"
            if name == "valid_time":
                time.standard_name = "time"
            time[...] = seconds
        mapping = file.createVariable("proj", "i1", ())
        mapping.grid_mapping_name = "albers_conical_equal_area"
        mapping.standard_parallel = np.array([-26.2, -29.3])
        mapping.longitude_of_central_meridian, mapping.latitude_of_projection_origin = 153.24, -27.7
        mapping.false_easting = mapping.false_northing = 0.0
        mapping.semi_major_axis, mapping.semi_minor_axis = 6378137.0, 6356752.31414
        rain = file.createVariable("precipitation", "i2", ("y", "x"), fill_value=-1)
        rain.standard_name, rain.units = "precipitation_amount", "kg m-2"
        rain.grid_mapping, rain.scale_factor = "proj", np.float32(0.05)
        rain.set_auto_maskandscale(False)
        codes = north_first_codes().astype(np.int16)
        codes[codes == NODATA] = -1
        rain[:] = codes
    return path
