"""Each quantity's code is a code: it goes there and back, rises, and knows dry and missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.errors import UserError
from prediff.data.quantity import (
    HIGHEST,
    MISSING,
    QUANTITIES,
    RAIN_RATE,
    REFLECTIVITY,
    VIL,
    RainRelation,
    byte_table,
    convert,
    quantity_named,
    quantity_of_units,
)

MARSHALL_PALMER = RainRelation()
every_quantity = pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
relations = st.builds(RainRelation, a=st.floats(50, 500), b=st.floats(1.1, 2.5))


@every_quantity
def test_every_code_that_has_a_value_of_its_own_comes_back(quantity):
    codes = np.arange(6 if quantity is VIL else 0, MISSING)
    np.testing.assert_array_equal(quantity.to_bytes(quantity.decode(codes)), codes)


@every_quantity
def test_code_zero_is_dry_and_no_valid_value_is_stored_as_missing(quantity):
    assert quantity.decode(0) == quantity.dry
    assert quantity.to_bytes(quantity.dry) == 0
    assert quantity.to_bytes(quantity.largest) == HIGHEST
    assert quantity.to_bytes(quantity.highest_credible) == HIGHEST
    assert quantity.to_bytes(quantity.lowest) == 0


@every_quantity
def test_missing_pixels_stay_missing(quantity):
    assert quantity.to_bytes(np.nan) == MISSING
    np.testing.assert_array_equal(
        np.isnan(quantity.from_bytes(np.arange(256, dtype=np.uint8))), np.arange(256) == MISSING
    )


@every_quantity
@given(data=st.data())
def test_codes_rise_with_values(quantity, data):
    values = st.floats(quantity.lowest, quantity.highest_credible)
    low, high = sorted((data.draw(values), data.draw(values)))
    assert quantity.encode(low) <= quantity.encode(high)


@every_quantity
@given(code=st.integers(0, HIGHEST))
def test_a_value_reaches_a_threshold_exactly_when_its_code_does(quantity, code):
    for threshold in quantity.thresholds:
        value = code if quantity.scored_in_code else float(quantity.decode(code))
        assert (value >= threshold) == (code >= quantity.threshold_code(threshold) - 1e-9)


@every_quantity
def test_colours_have_ten_bins_from_dry_to_the_end_of_the_code(quantity):
    codes = [quantity.threshold_code(level) for level in quantity.levels]
    assert len(codes) == 11
    assert codes == sorted(set(codes))
    assert codes[0] == 0
    assert codes[-1] >= HIGHEST


def test_reflectivity_in_half_decibels_is_kept_exactly():
    values = np.arange(5, 68.5, 0.5)
    np.testing.assert_array_equal(REFLECTIVITY.from_bytes(REFLECTIVITY.to_bytes(values)), values)


@given(rate=st.floats(0.06, RAIN_RATE.largest))
def test_rain_rates_are_kept_to_two_percent(rate):
    assert RAIN_RATE.from_bytes(RAIN_RATE.to_bytes(rate)) == pytest.approx(rate, rel=0.018)


def test_marshall_and_palmer_s_rain_is_the_textbook_s():
    np.testing.assert_allclose(MARSHALL_PALMER.to_rain([23.0103, 40.0]), [1.0, 11.5306], rtol=1e-4)


@given(relation=relations, rate=st.floats(0.1, 100))
def test_rain_to_reflectivity_and_back_is_the_same_rain(relation, rate):
    assert relation.to_rain(relation.to_reflectivity(rate)) == pytest.approx(rate)


@given(relation=relations)
def test_conversion_keeps_dry_dry_and_missing_missing(relation):
    for source, target in ((RAIN_RATE, REFLECTIVITY), (REFLECTIVITY, RAIN_RATE)):
        there = convert(
            [source.dry, np.nan], source=source, target=target, relation=relation, place="p"
        )
        assert there[0] == target.dry
        assert np.isnan(there[1])
        table = byte_table(source=source, target=target, relation=relation, place="p")
        assert table[0] == 0
        assert table[MISSING] == MISSING
        assert (np.diff(table[:MISSING].astype(int)) >= 0).all()


@pytest.mark.parametrize("other", [REFLECTIVITY, RAIN_RATE])
def test_liquid_water_is_converted_to_nothing_else(other):
    for source, target in ((VIL, other), (other, VIL)):
        with pytest.raises(UserError, match="does not follow from the other"):
            convert([1.0], source=source, target=target, relation=MARSHALL_PALMER, place="frames")


@pytest.mark.parametrize(
    ("units", "quantity", "factor"),
    [
        ("dBZ", REFLECTIVITY, 1),
        ("mm h-1", RAIN_RATE, 1),
        ("mm/hr", RAIN_RATE, 1),
        ("kg m-2", VIL, 1),
        ("kg m-2 s-1", RAIN_RATE, 3600),
        ("m s-1", RAIN_RATE, 3.6e6),
    ],
)
def test_units_say_what_values_are(units, quantity, factor):
    assert quantity_of_units(units, place="frames") == (quantity, factor)


def test_what_is_unknown_is_refused_with_what_is_known():
    with pytest.raises(UserError, match="did you mean reflectivity"):
        quantity_named("reflectvity")
    with pytest.raises(UserError, match=r"'furlong'.*dBZ"):
        quantity_of_units("furlong", place="frames")
    with pytest.raises(UserError, match="must be positive"):
        RainRelation(a=-1)


@pytest.mark.parametrize("value", [np.inf, 150.0, -9999.0])
def test_what_cannot_be_reflectivity_is_refused(value):
    with pytest.raises(UserError):
        REFLECTIVITY.check(np.array([10.0, value]), place="frames")


def test_frames_without_a_valid_pixel_are_refused():
    with pytest.raises(UserError, match="no valid pixel"):
        VIL.check(np.array([np.nan]), place="frames")
