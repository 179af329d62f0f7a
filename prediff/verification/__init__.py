"""Scores, named protocols, baselines and the report; see `Scoreboard` for where to begin."""

from prediff.verification.headline import skill_table, write_scores
from prediff.verification.protocols import PROTOCOLS, Protocol, check_comparable, protocol_named
from prediff.verification.report import CasePictures, write_report
from prediff.verification.scoreboard import Scoreboard, compare

__all__ = [
    "PROTOCOLS",
    "CasePictures",
    "Protocol",
    "Scoreboard",
    "check_comparable",
    "compare",
    "protocol_named",
    "skill_table",
    "write_report",
    "write_scores",
]
