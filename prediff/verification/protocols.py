"""Named verification protocols: what was forecast, how it was counted, what it may stand beside.

Numbers of different papers differ more by protocol than by model: the same Earthformer weights
score CSI 0.442 with pooled counts and 0.436 with the mean over lead times. A protocol names every
choice, and two results are compared only if they were made by the same one.
"""

from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

from hpc.errors import UserError
from prediff.data.quantity import VIL, Quantity
from prediff.verification.contingency import LEAD_TIME_MEAN, POOLED, VIL_THRESHOLDS
from prediff.verification.ensemble import FAIR_CRPS, GAUSSIAN_CRPS, PLAIN_CRPS
from prediff.verification.score import ENSEMBLE_MEAN, MEMBERS


@dataclass(frozen=True)
class Protocol:
    """The choices that make a score a number. A size of None means: whatever the data has.

    Attributes:
        context_frames, forecast_frames, height, width, cadence_minutes: the data.
        test_from: first day of the test period, ISO; the period has no end.
        window_stride: frames between the starts of two windows of one event.
        quantity: what is scored; published protocols are of VIL.
        thresholds, poolings: of the contingency scores; of VIL on the 0-255 scale, of others in
            their units.
        counting, pooled_counting: ``pooled`` or ``lead_time_mean``, at pooling 1 and above.
        epsilon: added to the denominators of contingency scores.
        undefined: what a score without events counts as; None leaves it out of means.
        reference_scaling: divide by float32(1/255) instead of multiplying by 255.
        categorical_of: whose contingency scores are compared: ensemble mean or members.
        crps: which estimate is the headline.
        members: the size of the ensemble in the published results.
        source: where the choices are written down.
        notes: what a reader must know before comparing.
    """

    name: str
    source: str
    context_frames: int | None = None
    forecast_frames: int | None = None
    height: int | None = None
    width: int | None = None
    cadence_minutes: float | None = None
    test_from: str | None = None
    window_stride: int | None = None
    quantity: str = VIL.name
    thresholds: tuple[float, ...] = VIL_THRESHOLDS
    poolings: tuple[int, ...] = (1, 4, 16)
    counting: str = POOLED
    pooled_counting: str = POOLED
    epsilon: float = 0.0
    undefined: float | None = None
    reference_scaling: bool = False
    categorical_of: str = ENSEMBLE_MEAN
    crps: str = FAIR_CRPS
    members: int | None = None
    notes: str = ""

    @property
    def scored(self) -> str:
        """The protocol's name, with the quantity where it is not the published one."""
        return self.name if self.quantity == VIL.name else f"{self.name} of {self.quantity}"

    def describe(self) -> dict:
        """Return the protocol as JSON-able values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    def check_data(
        self,
        *,
        context_frames: int,
        forecast_frames: int,
        height: int,
        width: int,
        cadence_minutes: float,
        first_time: str | None = None,
    ) -> None:
        """Raise UserError if the data cannot serve this protocol.

        Args:
            first_time: ISO time of the earliest test case, where known.
        """
        given = {
            "context_frames": context_frames,
            "forecast_frames": forecast_frames,
            "height": height,
            "width": width,
            "cadence_minutes": cadence_minutes,
        }
        for key, value in given.items():
            wanted = getattr(self, key)
            if wanted is not None and value != wanted:
                raise UserError(
                    f"protocol '{self.name}' needs {key} = {wanted:g}, the data has {value:g}; "
                    "use protocol 'native' for scores that stand alone"
                )
        if self.test_from and first_time and first_time[:10] < self.test_from:
            raise UserError(
                f"protocol '{self.name}' tests from {self.test_from} on, the data starts at "
                f"{first_time}; leave earlier events out or use protocol 'native'"
            )


NATIVE = Protocol(
    name="native",
    source="this project",
    notes=(
        "Fair CRPS; counts pooled over cases and lead times; scores without any event are left "
        "out, not 0. Not comparable with published tables."
    ),
)

PREDIFF_2023 = Protocol(
    name="prediff2023",
    source="Gao et al. 2023 (arXiv:2307.10422), section 3.2 and appendix D; its published code",
    context_frames=7,
    forecast_frames=6,
    height=128,
    width=128,
    cadence_minutes=10,
    test_from="2019-06-01",
    window_stride=6,
    epsilon=1e-4,
    reference_scaling=True,
    crps=PLAIN_CRPS,
    members=8,
    notes=(
        "SEVIR-LR. The paper computes CSI on the mean of 8 samples; its code updates the scores "
        "sample by sample. The deterministic rows of its table 2 repeat the CSI of Earthformer "
        "(13 to 12 frames at 384 x 384), so only the probabilistic rows are of this protocol. "
        "The paper does not say which CRPS estimate it uses; the plain one is assumed."
    ),
)

CASCAST_384 = Protocol(
    name="cascast384",
    source="Gong et al. 2024 (arXiv:2402.04290), section 4.1 and table 2; its published code",
    context_frames=13,
    forecast_frames=12,
    height=384,
    width=384,
    cadence_minutes=5,
    test_from="2019-06-01",
    window_stride=12,
    epsilon=1e-4,
    reference_scaling=True,
    crps=GAUSSIAN_CRPS,
    members=10,
    notes=(
        "CSI and HSS on the mean of 10 members. Its code computes the CRPS of a normal "
        "distribution with the members' mean and deviation, not of the ensemble, and clips "
        "forecasts to the observed range for SSIM. Its PreDiff was trained at 128 x 128."
    ),
)

DIFFCAST_128 = Protocol(
    name="diffcast128",
    source="Yu et al. 2024 (arXiv:2312.06734), table 1; its published code",
    context_frames=5,
    forecast_frames=20,
    height=128,
    width=128,
    cadence_minutes=5,
    test_from="2019-10-01",
    window_stride=5,
    counting=LEAD_TIME_MEAN,
    pooled_counting=POOLED,
    undefined=0.0,
    categorical_of=MEMBERS,
    crps=PLAIN_CRPS,
    members=1,
    notes=(
        "One sample a case; CSI and HSS at each lead time, then averaged; pooled CSI from counts "
        "of all lead times. Test period and stride are those of the published code; the paper's "
        "appendix says 2019-06-01 and 12. Frames are resized from 384 x 384, not max-pooled. The "
        "CRPS of its code is not one, so none is compared."
    ),
)

PROTOCOLS = {
    protocol.name: protocol for protocol in (NATIVE, PREDIFF_2023, CASCAST_384, DIFFCAST_128)
}


def protocol_named(name: str, *, quantity: Quantity = VIL) -> Protocol:
    """Return a protocol by name.

    Args:
        quantity: what is scored; ``native`` takes its thresholds.

    Raises:
        UserError: no such protocol; the line lists all of them and the nearest. Or one that was
            published for another quantity.
    """
    if name in PROTOCOLS:
        found = PROTOCOLS[name]
        if quantity.name == found.quantity:
            return found
        if found is NATIVE:
            return replace(
                NATIVE,
                quantity=quantity.name,
                thresholds=quantity.thresholds,
                notes=f"{NATIVE.notes} Thresholds are in {quantity.short_units}.",
            )
        raise UserError(
            f"protocol '{name}' scores {found.quantity}, the run forecasts {quantity.name}: use "
            "protocol 'native'"
        )
    near = get_close_matches(name, PROTOCOLS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(f"no protocol '{name}'; there are {', '.join(PROTOCOLS)}{hint}")


def check_comparable(first: str, second: str) -> None:
    """Raise UserError unless both results were made by the same protocol."""
    if first != second:
        raise UserError(
            f"scores of protocol '{first}' cannot be compared with scores of protocol '{second}'; "
            "evaluate both runs by one protocol"
        )
