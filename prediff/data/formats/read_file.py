"""Any radar file as images: the first bytes say what it is, never the name."""

import gzip
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc.errors import UserError
from prediff.data.file_guard import HDF5_SIGNATURE, MODEST_BYTES, first_line, open_hdf5
from prediff.data.formats.cf import read_cf, read_mrms
from prediff.data.formats.fmi_pgm import read_fmi_pgm
from prediff.data.formats.geotiff import read_geotiff
from prediff.data.formats.image import RadarImage
from prediff.data.formats.knmi import is_knmi, read_knmi
from prediff.data.formats.meteoswiss_gif import read_meteoswiss_gif
from prediff.data.formats.odim import is_odim, read_odim
from prediff.data.formats.radolan import is_radolan, read_radolan

FORMATS = "ODIM HDF5, KNMI HDF5, GRIB2 (MRMS), FMI PGM, GeoTIFF, MeteoSwiss GIF, RADOLAN, CF netCDF"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_NETCDF3 = (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def read_images(path: Path) -> list[RadarImage]:
    """Return all images of a file, or of a zarr folder.

    Raises:
        UserError: a format that is not known, or a file that cannot be read.
    """
    if path.is_dir():
        return list(read_cf(path))
    try:
        with _unpacked(path) as (plain, head):
            return list(_reader_of(head, plain)(plain, path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None


def _reader_of(head: bytes, plain: Path) -> Callable[[Path, Path], Iterator[RadarImage]]:
    if head.startswith(HDF5_SIGNATURE):
        return _read_hdf5
    if head.startswith(b"GRIB"):
        return lambda plain, path: read_mrms(plain)
    if head.startswith(b"P5"):
        return lambda plain, path: iter([read_fmi_pgm(plain.read_bytes(), path)])
    if head.startswith(_TIFF):
        return lambda plain, path: iter([read_geotiff(plain)])
    if head.startswith((b"GIF87a", b"GIF89a")):
        return lambda plain, path: iter([read_meteoswiss_gif(plain.read_bytes(), path)])
    if head.startswith(_NETCDF3):
        return lambda plain, path: read_cf(plain)
    if is_radolan(head):
        return lambda plain, path: iter([read_radolan(plain.read_bytes(), path)])
    raise UserError(f"{plain.name} is none of {FORMATS}")


def _read_hdf5(plain: Path, path: Path) -> Iterator[RadarImage]:
    with open_hdf5(plain) as file:
        try:
            if is_odim(file):
                yield read_odim(file, path)
                return
            if is_knmi(file):
                yield read_knmi(file, path)
                return
        except (OSError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is damaged: {first_line(error)}") from None
    yield from read_cf(plain)


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[Path, bytes]]:
    """Give a plain file and its first bytes; what is packed by gzip is unpacked, within bounds."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise UserError(f"{path} is empty")
    if not head.startswith(b"\x1f\x8b"):
        yield path, head
        return
    with tempfile.TemporaryDirectory(prefix="prediff-radar-") as folder:
        plain = Path(folder, path.name.removesuffix(".gz"))
        most = max(MODEST_BYTES, 200 * path.stat().st_size)
        try:
            with gzip.open(path) as packed, plain.open("wb") as out:
                while block := packed.read(1 << 20):
                    most -= len(block)
                    if most < 0:
                        raise UserError(f"{path} unpacks to more than is sound: no radar file")
                    out.write(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path} is truncated or no gzip: {first_line(error)}") from None
        with plain.open("rb") as file:
            head = file.read(64)
        yield plain, head
