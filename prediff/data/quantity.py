"""What radar frames hold: liquid water, reflectivity or rain rate, and how each becomes 0-255.

Frames are stored as bytes: 0 is dry, 254 the highest value, 255 a missing pixel. The network sees
code / 255, so [0, 1], whatever the quantity. Each quantity's code rises with its value, so scores
at a threshold in the quantity's units are scores at that threshold's code.

Sources: SEVIR's code of VIL, Veillette et al. 2020, section 4.1; Z = a R**b, Marshall and Palmer
1948; scores of reflectivity at 20 to 40 dBZ, Yu et al. 2024 (arXiv:2312.06734); scores of rain at
0.5 to 30 mm/h, Shi et al. 2017 (arXiv:1706.03458).
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hpc.errors import UserError
from prediff.data.vil import vil_to_water, water_to_vil

QuantityName = Literal["vil", "reflectivity", "rain_rate"]

MISSING = 255
"""The code of a missing pixel."""
HIGHEST = 254
"""The highest code of a valid one."""

_DRY_DBZ, _DBZ_PER_CODE = 5.0, 0.25
_DRY_RATE, _RATE_PER_CODE = 0.05, 10**0.015


@dataclass(frozen=True, kw_only=True)
class RainRelation:
    """Z = a R**b, with Z in mm6/m3 and R in mm/h; the defaults are Marshall and Palmer's.

    Raises:
        UserError: a or b is not positive.
    """

    a: float = 200.0
    b: float = 1.6

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b > 0):
            raise UserError(f"Z = {self.a:g} R^{self.b:g} is no relation: a and b must be positive")

    def __str__(self) -> str:
        return f"Z = {self.a:g} R^{self.b:g}"

    def to_rain(self, reflectivity: ArrayLike) -> np.ndarray:
        """Return the rain rate in mm/h of a reflectivity in dBZ."""
        return (10 ** (np.asarray(reflectivity, np.float64) / 10) / self.a) ** (1 / self.b)

    def to_reflectivity(self, rain: ArrayLike) -> np.ndarray:
        """Return the reflectivity in dBZ of a rain rate in mm/h; minus infinity of none."""
        with np.errstate(divide="ignore"):
            return 10 * np.log10(self.a * np.asarray(rain, np.float64) ** self.b)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One kind of radar value.

    Attributes:
        name: in configurations, catalogs and files.
        title: for people.
        units: of the values, as CF writes them; ``short_units`` as people do.
        standard_name, long_name: CF's; its table has no name for all liquid water of a column.
        dry: the value of code 0: no rain, or too little to tell.
        scored_in_code: thresholds and colour levels are codes, not values (the papers' VIL).
        thresholds: of the contingency scores, in values or codes.
        levels: of the colours, in values or codes; ten bins.
        rain_threshold: what optical flow takes for rain, in values or codes.
        lowest, highest_credible: values outside cannot be this quantity.
    """

    name: QuantityName
    title: str
    units: str
    short_units: str
    standard_name: str | None
    long_name: str
    dry: float
    scored_in_code: bool
    thresholds: tuple[float, ...]
    levels: tuple[float, ...]
    rain_threshold: float
    lowest: float
    highest_credible: float
    _decode: Callable[[np.ndarray], np.ndarray]
    _encode: Callable[[np.ndarray], np.ndarray]

    @property
    def code_name(self) -> str:
        """The variable that holds codes."""
        return f"{self.name}_code"

    @property
    def largest(self) -> float:
        """The value of the highest code; what is above is stored as that."""
        return float(self.decode(HIGHEST))

    def decode(self, code: ArrayLike) -> np.ndarray:
        """Return values in ``units`` of codes 0-255, whole or not; NaN stays NaN."""
        return self._decode(np.asarray(code, np.float64))

    def encode(self, values: ArrayLike) -> np.ndarray:
        """Return codes 0-254, not rounded, of values in ``units``; NaN stays NaN.

        What is drier than the first code is 0, what is above the highest is the highest.
        """
        return np.clip(self._encode(np.asarray(values, np.float64)), 0, HIGHEST)

    def to_bytes(self, values: ArrayLike) -> np.ndarray:
        """Return values in ``units`` as stored bytes; NaN is :data:`MISSING`."""
        code = np.rint(self.encode(values))
        return np.where(np.isnan(code), MISSING, code).astype(np.uint8)

    def from_bytes(self, stored: np.ndarray) -> np.ndarray:
        """Return float32 values in ``units`` of stored bytes, NaN where missing."""
        return self.byte_values[stored]

    @property
    def byte_values(self) -> np.ndarray:
        """The float32 value of each byte; the last is NaN."""
        values = self.decode(np.arange(256)).astype(np.float32)
        values[MISSING] = np.nan
        return values

    def threshold_code(self, threshold: float) -> float:
        """Return the code of one of ``thresholds`` or ``levels``."""
        return float(threshold if self.scored_in_code else self.encode(threshold))

    def threshold_label(self, threshold: float) -> str:
        """Return a threshold as tables show it."""
        return f"{threshold:g}" if self.scored_in_code else f"{threshold:g} {self.short_units}"

    def check(self, values: np.ndarray, *, place: str) -> None:
        """Raise UserError unless values, NaN where missing, can be this quantity.

        Args:
            values: in ``units``.
            place: names them in the error.
        """
        if np.isinf(values).any():
            raise UserError(f"{place} holds infinite values: mark missing pixels with NaN")
        if np.isnan(values).all():
            raise UserError(f"{place} has no valid pixel")
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if low < self.lowest or high > self.highest_credible:
            raise UserError(
                f"{place} reaches from {low:g} to {high:g}: {self.title} in {self.short_units} is "
                f"within {self.lowest:g} and {self.highest_credible:g}; are units or missing "
                "values declared wrongly?"
            )


def _vil_code(water: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(water), np.nan, water_to_vil(water))


def _dbz(code: np.ndarray) -> np.ndarray:
    return _DRY_DBZ + _DBZ_PER_CODE * code


def _dbz_code(reflectivity: np.ndarray) -> np.ndarray:
    return (reflectivity - _DRY_DBZ) / _DBZ_PER_CODE


def _rate(code: np.ndarray) -> np.ndarray:
    rate = _DRY_RATE * _RATE_PER_CODE**code
    return np.where(code < 0.5, 0.0, rate)


def _rate_code(rate: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        code = np.log(rate / _DRY_RATE) / np.log(_RATE_PER_CODE)
    return np.where(rate <= 0, 0.0, code)


VIL = Quantity(
    name="vil",
    title="vertically integrated liquid",
    units="kg m-2",
    short_units="kg/m2",
    standard_name=None,
    long_name="vertically integrated liquid",
    dry=0.0,
    scored_in_code=True,
    thresholds=(16, 74, 133, 160, 181, 219),
    levels=(0, 16, 31, 59, 74, 100, 133, 160, 181, 219, 255),
    rain_threshold=16,
    lowest=0.0,
    highest_credible=1000.0,
    _decode=vil_to_water,
    _encode=_vil_code,
)
REFLECTIVITY = Quantity(
    name="reflectivity",
    title="reflectivity",
    units="dBZ",
    short_units="dBZ",
    standard_name="equivalent_reflectivity_factor",
    long_name="radar reflectivity; 5 dBZ stands for 5 dBZ and less",
    dry=_DRY_DBZ,
    scored_in_code=False,
    thresholds=(20, 30, 35, 40),
    levels=(5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 68.75),
    rain_threshold=10,
    lowest=-200.0,
    highest_credible=100.0,
    _decode=_dbz,
    _encode=_dbz_code,
)
RAIN_RATE = Quantity(
    name="rain_rate",
    title="rain rate",
    units="mm h-1",
    short_units="mm/h",
    standard_name="rainfall_rate",
    long_name="rain rate",
    dry=0.0,
    scored_in_code=False,
    thresholds=(0.5, 2, 5, 10, 30),
    levels=(0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 330),
    rain_threshold=0.1,
    lowest=0.0,
    highest_credible=3000.0,
    _decode=_rate,
    _encode=_rate_code,
)
QUANTITIES: dict[str, Quantity] = {each.name: each for each in (VIL, REFLECTIVITY, RAIN_RATE)}

_PER_HOUR = 3600.0
_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("kgm-2", "kg/m2", "kg/m^2", "kgm**-2", "kgm^-2"), ("vil", 1.0)),
    **dict.fromkeys(("dbz", "dbz_e"), ("reflectivity", 1.0)),
    **dict.fromkeys(("mmh-1", "mm/h", "mm/hr", "mmhr-1", "mmh^-1", "mmh**-1"), ("rain_rate", 1.0)),
    **dict.fromkeys(("kgm-2s-1", "mms-1", "mm/s"), ("rain_rate", _PER_HOUR)),
    **dict.fromkeys(("ms-1", "m/s"), ("rain_rate", 1000 * _PER_HOUR)),
}


def quantity_named(name: str) -> Quantity:
    """Return a quantity by name.

    Raises:
        UserError: there is none of that name.
    """
    if name in QUANTITIES:
        return QUANTITIES[name]
    near = get_close_matches(name, QUANTITIES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"no quantity '{name}': there are {', '.join(QUANTITIES)}{hint}")


def quantity_of_units(units: str, *, place: str) -> tuple[Quantity, float]:
    """Return what values of some units are, and the factor to the quantity's own units.

    Raises:
        UserError: units that are none of a quantity's.
    """
    found = _UNITS.get("".join(units.lower().split()))
    if found is None:
        known = ", ".join(each.units for each in QUANTITIES.values())
        raise UserError(f"{place} is in {units!r}, expected {known}: convert it or mend its units")
    return QUANTITIES[found[0]], found[1]


def require_convertible(*, source: Quantity, target: Quantity, place: str) -> None:
    """Raise UserError if no physics leads from one quantity to another.

    Liquid water of a column is neither reflectivity nor rain at the ground.
    """
    if source is not target and VIL in (source, target):
        raise UserError(
            f"{place} is {source.title} ({source.short_units}), the run takes {target.title} "
            f"({target.short_units}), and the one does not follow from the other: hand in "
            f"{target.short_units}"
        )


def convert(
    values: ArrayLike, *, source: Quantity, target: Quantity, relation: RainRelation, place: str
) -> np.ndarray:
    """Return values of one quantity as another, in the units of each; NaN stays NaN.

    Raises:
        UserError: as :func:`require_convertible`.
    """
    values = np.asarray(values, np.float64)
    require_convertible(source=source, target=target, place=place)
    if source is target:
        return values
    if target is RAIN_RATE:
        return np.where(values <= source.dry, 0.0, relation.to_rain(values))
    return np.maximum(relation.to_reflectivity(values), target.dry)


def byte_table(
    *, source: Quantity, target: Quantity, relation: RainRelation, place: str
) -> np.ndarray:
    """Return the target's byte for each of the 256 bytes of the source; missing stays missing.

    Raises:
        UserError: as :func:`convert`.
    """
    if source is target:
        return np.arange(256, dtype=np.uint8)
    values = source.byte_values.astype(np.float64)
    return target.to_bytes(
        convert(values, source=source, target=target, relation=relation, place=place)
    )
