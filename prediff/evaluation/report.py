"""One self-contained HTML page about a forecast run: verdict, curves, tables, cases, origin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from prediff.evaluation.score_plots import score_figures
from prediff.evaluation.score_tables import (
    comparison_table,
    fractions_table,
    published_rows,
    score_table,
    scorecard,
)
from prediff.evaluation.verdict import verdict
from prediff.pictures.figures import Drawing, draw
from prediff.pictures.page import contents, facts, heading, html_page, inline_picture
from prediff.verification.headline import ROUNDING, headlines, number


@dataclass(frozen=True)
class CasePictures:
    """A case shown in the report: PNG of its panel and GIF of it moving; either may be empty."""

    title: str
    panel: bytes = b""
    animation: bytes = b""


_READING = {
    "scores_by_lead_time": (
        "Scores by lead time. Bands are bootstrap intervals over events; where bands of two "
        "systems overlap widely, the test set does not tell them apart."
    ),
    "performance_diagram": (
        "Detection against success ratio. Up and right is better; on the diagonal as much is "
        "forecast as is seen. Points slide to the lower left as the threshold rises."
    ),
    "power_spectra": (
        "Power by wavelength. A member should follow the black line of the radar; falling below "
        "it at short wavelengths is blur. An ensemble mean is meant to be smooth."
    ),
    "spread_and_skill": (
        "Spread and error by lead time. A dashed line below its solid one is an ensemble that is "
        "too sure of itself."
    ),
    "roc": (
        "Hits against false alarms of a warning at each number of members. Further to the upper "
        "left is better; the diagonal is no skill. The number is the area below."
    ),
    "reliability": (
        "Reliability. When the ensemble says 30 %, it should rain in 30 % of those pixels: on the "
        "dashed line. Below it the ensemble is too sure."
    ),
    "rank_histogram": (
        "Rank histogram. Flat is ideal; high ends mean that the truth too often lies outside all "
        "members (too little spread); a slope is a bias."
    ),
    "guidance": (
        "Mean intensity that was asked for, and what each member obtained; on the dashed line the "
        "forecast does what it is asked to."
    ),
}
SYNTHETIC = "SYNTHETIC DATA"
PICTURES = (".png", ".gif")


def write_report(
    path: str | Path,
    *,
    tables: dict[str, Any],
    title: str,
    cases: Sequence[CasePictures] = (),
    details: Mapping[str, str] | None = None,
    drawings: Mapping[str, Drawing] | None = None,
    files: Mapping[str, str] | None = None,
    synthetic: bool = False,
    kilometres_per_pixel: float | None = None,
) -> Path:
    """Write the page; pictures are inside it, and it runs no script.

    Args:
        tables: of `Scoreboard.tables`; ``left_out`` may name cases that could not be scored.
        cases: shown in this order.
        details: what made the run, such as data, split, checkpoint, solver and versions.
        drawings: of `score_figures`, where they are drawn already.
        files: links to files beside the page, titles by name.
        synthetic: whether the data are made up, which is said in large letters.
        kilometres_per_pixel: for the spectra's axis, where they are not.
    """
    path = Path(path)
    if drawings is None:
        figures = score_figures(tables, kilometres_per_pixel=kilometres_per_pixel)
        drawings = {name: draw(figure) for name, figure in figures.items()}
    body = "\n".join(_body(tables, title, cases, details or {}, drawings, files or {}, synthetic))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html_page(title, body), encoding="utf-8")
    return path


def _body(
    tables: dict[str, Any],
    title: str,
    cases: Sequence[CasePictures],
    details: Mapping[str, str],
    drawings: Mapping[str, Drawing],
    files: Mapping[str, str],
    synthetic: bool,
) -> Iterator[str]:
    protocol = tables["protocol"]
    left_out = tables.get("left_out", [])
    yield f"<h1>{escape(title)}</h1>"
    if synthetic:
        yield (
            f"<p class=banner>{SYNTHETIC}<small>These storms are made up by a program: the scores "
            "say nothing of real rain.</small></p>"
        )
    yield (
        f"<p class=note>Protocol {escape(protocol['name'])}; {tables['cases']} cases of "
        f"{tables['events']} events; lead times {tables['lead_minutes'][0]:g} to "
        f"{tables['lead_minutes'][-1]:g} minutes.</p>"
    )
    for sentence in summary(tables):
        yield f"<p class=lead>{escape(sentence)}</p>"
    if left_out:
        yield (
            f"<p class=warning>{len(left_out)} of {tables['cases'] + len(left_out)} cases could "
            "not be scored and are left out for all systems alike; they are named below.</p>"
        )
    entries = {"verdict": "Against each baseline"} if tables["comparisons"] else {}
    entries |= {"curves": "Curves", "scores": "Scores", "scales": "Scales"}
    entries |= {"published": "Published results"} if tables["published"] else {}
    entries |= {"cases": "Cases"} if cases else {}
    entries |= {"differences": "Differences"} if tables["comparisons"] else {}
    entries |= {"made": "How this was made"}
    yield contents(entries)
    tabled = {name: text for name, text in files.items() if not name.endswith(PICTURES)}
    if tabled:
        yield f"<nav>All numbers: {_links(tabled)}</nav>"
    yield from _verdicts(tables)
    yield heading("Curves", "curves")
    for name, drawing in drawings.items():
        key = next(key for key in _READING if name.startswith(key))
        yield inline_picture(drawing.png, "png", name.replace("_", " "), _READING[key])
    yield heading("Scores", "scores")
    yield score_table(tables)
    yield (
        "<p class=note>In brackets beside a score: what it is a score of. <b>ensemble</b>: the "
        "members together as a distribution; <b>ensemble mean</b>: their mean as one forecast; "
        "<b>members</b>: each as a forecast of its own, pooled. Small print: "
        f"{tables['interval_level']:.0%} bootstrap interval by event. Bold: the best. A dash: "
        "undefined, no such event was seen or forecast. CRPS, MSE and MAE are in units of the code "
        "/ 255; means over thresholds take those that the radar reached at every lead time, "
        f"unless the protocol says otherwise. {ROUNDING}, everywhere on this page.</p>"
    )
    for system, found in tables["systems"].items():
        yield f"<p class=note>CRPS of {escape(system)}: {escape(found['crps_estimate'])}.</p>"
    if tables["systems"]:
        yield heading("Fractions skill score by scale and threshold", "scales")
        yield fractions_table(tables)
        yield (
            "<p class=note>Of the ensemble: share of members and pixels in the neighbourhood. 1 is "
            "perfect; a forecast is useful from about 0.5 + half the event's frequency on.</p>"
        )
    if tables["published"]:
        yield heading("Beside published results of the same protocol", "published")
        yield from published_rows(tables)
    if cases:
        yield heading("Cases", "cases")
    for case in cases:
        yield f"<h3>{escape(case.title)}</h3>"
        yield inline_picture(case.animation, "gif", case.title, "")
        yield inline_picture(case.panel, "png", case.title, "")
    if tables["comparisons"]:
        yield heading("Are the differences real?", "differences")
        yield comparison_table(tables)
        yield (
            "<p class=note>Paired by event. The interval resamples events; p is the share of "
            f"random swaps of the two systems that differ as much ({tables['replicates']} swaps). "
            "With many scores in a table, one in twenty is below 0.05 by chance.</p>"
        )
    yield heading("How this was made", "made")
    yield f"<p class=note>{escape(protocol['source'])}. {escape(protocol['notes'])}</p>"
    yield facts((key, str(value)) for key, value in details.items())
    pictures = {name: text for name, text in files.items() if name.endswith(PICTURES)}
    if pictures:
        yield f"<p class=note>The pictures as files: {_links(pictures)}</p>"
    if left_out:
        yield "<h3>Cases that were left out</h3>"
        yield facts((entry["case"], entry["reason"]) for entry in left_out)


def _links(files: Mapping[str, str]) -> str:
    return " ".join(f'<a href="{escape(name)}">{escape(text)}</a>' for name, text in files.items())


def _verdicts(tables: dict[str, Any]) -> Iterator[str]:
    if not tables["comparisons"]:
        return
    yield heading("Against each baseline", "verdict")
    first, *others = tables["systems"]
    for other in others:
        yield f"<h3>{escape(first)} against {escape(other)}</h3>"
        yield scorecard(tables, other=other)
    yield (
        "<p class=note>▲ significantly better, △ better, ▽ worse, ▼ significantly worse: the "
        f"{tables['interval_level']:.0%} bootstrap interval by event of the paired difference "
        "leaves 0 out, or not. Scores that are best in the middle, such as the frequency bias, "
        "have no winner by sign and are not here. Of many cells some are significant by chance: "
        f"about one in {round(1 / (1 - tables['interval_level']))}.</p>"
    )


def summary(tables: dict[str, Any]) -> list[str]:
    """Say in a sentence each how the first system did, and how against each other one."""
    first, *others = tables["systems"] or ("",)
    crps = headlines(tables)[0]
    mine = crps.entry(tables, first)["overall"] if first else None
    if mine is None:
        return ["No pixel could be scored."]
    sentences = [f"{first} has a {crps.title} of {number(mine)}."]
    if others and not tables["comparisons"]:
        sentences.append("One event cannot tell systems apart: nothing is said of who is better.")
        return sentences
    return sentences + [verdict(tables, other=other).sentence for other in others]
