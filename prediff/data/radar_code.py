"""Radar frames in any units as the code 0-255 of one quantity: what every path hands to a network.

T time, H, W pixels.
"""

import numpy as np
import xarray as xr

from hpc.errors import UserError
from prediff.data.gridded import NO_UNITS, check_times, chosen_units, mask_invalid, named_code
from prediff.data.orientation import FLIPPED, as_frames
from prediff.data.quantity import (
    VIL,
    Quantity,
    RainRelation,
    convert,
    quantity_of_units,
    require_convertible,
)

CONVERTED = "converted"
"""In a DataArray's encoding: how its values became the quantity, where they were of another."""


def to_code(
    frames: xr.DataArray,
    *,
    quantity: Quantity = VIL,
    relation: RainRelation | None = None,
    place: str,
) -> xr.DataArray:
    """Return frames as code 0-255, float32, NaN where missing, in the order of time.

    Rows come out from the south and columns from the west.

    Args:
        frames: time, rows and columns in any order; the attribute ``units`` says what the values
            are: dBZ, mm h-1, kg m-2 or alike; ``1`` or none is code 0-255 of the quantity that the
            variable's name says (``reflectivity_code``), else VIL's.
        quantity: whose code is wanted.
        relation: between reflectivity and rain, where the one becomes the other.
        place: names the frames in errors.

    Raises:
        UserError: units that are not known, another quantity that cannot be converted, values that
            cannot be such, or missing, repeated or future times.
    """
    if not isinstance(frames, xr.DataArray):
        raise UserError(
            f"{place} is a {type(frames).__name__}, expected a DataArray (time, y, x): hand in one "
            "variable"
        )
    frames = as_frames(mask_invalid(frames), place=place)
    units = chosen_units(frames)
    values = frames.values
    kept = ("grid_mapping", FLIPPED, CONVERTED)
    encoding = {key: value for key, value in frames.encoding.items() if key in kept}
    if units.lower() in NO_UNITS:
        source = named_code(frames) or VIL
        check_code(values, place=place)
        if source is not quantity:
            values = source.decode(values)
    else:
        source, factor = quantity_of_units(units, place=f"{place}: {frames.name or 'the frames'}")
        require_convertible(source=source, target=quantity, place=place)
        values = values * factor
        source.check(values, place=place)
        if source is quantity:
            values = quantity.encode(values)
    if source is not quantity:
        relation = relation or RainRelation()
        values = convert(values, source=source, target=quantity, relation=relation, place=place)
        values = quantity.encode(values)
        encoding[CONVERTED] = f"{source.name} to {quantity.name} by {relation}"
    out = frames.copy(data=values.astype(np.float32)).rename(quantity.code_name)
    out.attrs, out.encoding = {}, encoding
    out = check_times(out, place=place)
    out.encoding = encoding
    return out


def check_code(values: np.ndarray, *, place: str) -> None:
    """Raise UserError unless the values can be code 0-255, NaN where missing."""
    valid = values[np.isfinite(values)]
    if np.isinf(values).any():
        raise UserError(f"{place} holds infinite values: mark missing pixels with NaN")
    if not valid.size:
        raise UserError(f"{place} has no valid pixel")
    low, high = float(valid.min()), float(valid.max())
    if low < 0:
        raise UserError(
            f"{place} reaches down to {low:g}: a code is 0-255; are the values dBZ? Then say so in "
            "the attribute units"
        )
    if high > 255:
        raise UserError(f"{place} reaches up to {high:g}: a code is 0-255")
    if high <= 1 and (valid != np.rint(valid)).any():
        raise UserError(
            f"{place} ends at {high:g} with fractions: a code is expected on 0-255, and other "
            "values with the attribute units"
        )
