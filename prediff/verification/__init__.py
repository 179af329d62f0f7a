"""Scores, named protocols and baselines; see `Scoreboard` for where to begin.

The report (`prediff.evaluation.report`) and the plots (`prediff.evaluation.score_plots`) stand on
top of both packages and are imported by their own names.
"""

from prediff.verification.headline import skill_table, write_scores
from prediff.verification.protocols import PROTOCOLS, Protocol, check_comparable, protocol_named
from prediff.verification.scoreboard import Scoreboard, compare

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Scoreboard",
    "check_comparable",
    "compare",
    "protocol_named",
    "skill_table",
    "write_scores",
]
