"""Published results that may stand beside ours, by protocol.

Only rows that the named paper's own table holds and that belong to the protocol. They were taken
from transcriptions of the tables (two independent ones for PreDiff's own row and CasCast's), not
from a run of ours: check the paper before you cite them.
"""

from dataclasses import dataclass, field

from prediff.verification.protocols import Protocol

_MEAN_CSI = "critical_success_index/pool_{pooling}/mean"


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper's table; keys are ``score/label/label`` as in `Scoreboard.tables`."""

    protocol: str
    system: str
    table: str
    values: dict[str, float] = field(default_factory=dict)


def _row(
    protocol: str,
    system: str,
    table: str,
    csi: tuple[float, float, float],
    **others: float,
) -> PublishedResult:
    """`csi` is the mean over thresholds at pooling 1, 4 and 16."""
    values = {
        _MEAN_CSI.format(pooling=pooling): value
        for pooling, value in zip((1, 4, 16), csi, strict=True)
    }
    names = {
        "crps": "continuous_ranked_probability_score/pool_1",
        "gaussian_crps": "gaussian_continuous_ranked_probability_score/pool_1",
        "hss": "heidke_skill_score/pool_1/mean",
        "ssim": "structural_similarity",
    }
    values |= {names[short]: value for short, value in others.items()}
    return PublishedResult(protocol=protocol, system=system, table=table, values=values)


_PREDIFF = "Gao et al. 2023, table 2"
_CASCAST = "Gong et al. 2024, table 2"
_DIFFCAST = "Yu et al. 2024, table 1"

PUBLISHED = (
    _row("prediff2023", "PreDiff", _PREDIFF, (0.4100, 0.4624, 0.6244), crps=0.0246),
    _row("prediff2023", "LDM", _PREDIFF, (0.3580, 0.4022, 0.5522)),
    _row("prediff2023", "VideoGPT", _PREDIFF, (0.3653, 0.4349, 0.5798)),
    _row("prediff2023", "DGMR", _PREDIFF, (0.2675, 0.3431, 0.4832)),
    _row(
        "cascast384",
        "CasCast",
        _CASCAST,
        (0.4401, 0.4640, 0.5225),
        gaussian_crps=0.0202,
        ssim=0.7797,
        hss=0.5602,
    ),
    _row(
        "cascast384",
        "PreDiff (trained at 128 x 128)",
        _CASCAST,
        (0.3875, 0.3918, 0.4157),
        gaussian_crps=0.0202,
        ssim=0.7648,
        hss=0.4914,
    ),
    _row("cascast384", "EarthFormer", _CASCAST, (0.4310, 0.4319, 0.4351), hss=0.5411),
    _row("cascast384", "SimVP", _CASCAST, (0.4153, 0.4226, 0.4530), hss=0.5280),
    _row("cascast384", "NowcastNet", _CASCAST, (0.4152, 0.4452, 0.5024), hss=0.5365),
    _row("diffcast128", "DiffCast (SimVP)", _DIFFCAST, (0.3077, 0.4122, 0.5683), hss=0.4033),
    _row("diffcast128", "DiffCast (PhyDNet)", _DIFFCAST, (0.2757, 0.3797, 0.5296), hss=0.3584),
    _row("diffcast128", "SimVP", _DIFFCAST, (0.2662, 0.2844, 0.3452), hss=0.3369),
    _row("diffcast128", "Earthformer", _DIFFCAST, (0.2513, 0.2617, 0.2910), hss=0.3073),
    _row("diffcast128", "PreDiff", _DIFFCAST, (0.2304, 0.3041, 0.4028), hss=0.2986),
    _row("diffcast128", "MCVD", _DIFFCAST, (0.2148, 0.3020, 0.4706), hss=0.2743),
)


def published_for(protocol: Protocol) -> list[PublishedResult]:
    """Return the published rows of exactly this protocol; none for 'native'."""
    return [row for row in PUBLISHED if row.protocol == protocol.name]
