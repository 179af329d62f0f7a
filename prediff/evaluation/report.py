"""One self-contained HTML page about a forecast run: table, plots, cases, and how to read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from prediff.evaluation.score_plots import score_figures
from prediff.pictures.figures import Drawing, draw
from prediff.pictures.page import html_page, inline_picture
from prediff.verification.headline import headlines, number


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


def write_report(
    path: str | Path,
    *,
    tables: dict[str, Any],
    title: str,
    cases: Sequence[CasePictures] = (),
    details: Mapping[str, str] | None = None,
    drawings: Mapping[str, Drawing] | None = None,
    kilometres_per_pixel: float | None = None,
) -> Path:
    """Write the page; pictures are inside it, and it runs no script.

    Args:
        tables: of `Scoreboard.tables`.
        cases: shown in this order.
        details: what made the run, such as checkpoint, solver and steps.
        drawings: of `score_figures`, where they are drawn already.
        kilometres_per_pixel: for the spectra's axis, where they are not.
    """
    path = Path(path)
    if drawings is None:
        figures = score_figures(tables, kilometres_per_pixel=kilometres_per_pixel)
        drawings = {name: draw(figure) for name, figure in figures.items()}
    body = "\n".join(_body(tables, title, cases, details or {}, drawings))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html_page(title, body), encoding="utf-8")
    return path


def _body(
    tables: dict[str, Any],
    title: str,
    cases: Sequence[CasePictures],
    details: Mapping[str, str],
    drawings: Mapping[str, Drawing],
) -> Iterator[str]:
    protocol = tables["protocol"]
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f"<p class=note>Protocol {escape(protocol['name'])}; {tables['cases']} cases of "
        f"{tables['events']} events; lead times {tables['lead_minutes'][0]:g} to "
        f"{tables['lead_minutes'][-1]:g} minutes.</p>"
    )
    yield f"<p class=lead>{escape(summary(tables))}</p>"
    yield "<h2>Scores</h2>"
    yield _score_table(tables)
    yield (
        "<p class=note>In brackets beside a score: what it is a score of. <b>ensemble</b>: the "
        "members together as a distribution; <b>ensemble mean</b>: their mean as one forecast; "
        "<b>members</b>: each as a forecast of its own, pooled. Small print: "
        f"{tables['interval_level']:.0%} bootstrap interval by event. Bold: the best. A dash: "
        "undefined, no such event was seen or forecast. CRPS, MSE and MAE are in units of "
        "VIL / 255; means over thresholds take those that the radar reached at every lead time, "
        "unless the protocol says otherwise.</p>"
    )
    for system, found in tables["systems"].items():
        yield f"<p class=note>CRPS of {escape(system)}: {escape(found['crps_estimate'])}.</p>"
    yield from _published(tables)
    if cases:
        yield "<h2>Cases</h2>"
    for case in cases:
        yield f"<h3>{escape(case.title)}</h3>"
        yield inline_picture(case.animation, "gif", case.title, "")
        yield inline_picture(case.panel, "png", case.title, "")
    yield "<h2>Plots</h2>"
    for name, drawing in drawings.items():
        key = next(key for key in _READING if name.startswith(key))
        yield inline_picture(drawing.png, "png", name.replace("_", " "), _READING[key])
    yield from _comparisons(tables)
    yield "<h2>How this was made</h2>"
    yield f"<p class=note>{escape(protocol['source'])}. {escape(protocol['notes'])}</p>"
    if details:
        rows = "".join(
            f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>"
            for key, value in details.items()
        )
        yield f"<table>{rows}</table>"


def summary(tables: dict[str, Any]) -> str:
    """Say in a sentence or two how the first system did in CRPS against each other one."""
    first, *others = tables["systems"]
    crps = headlines(tables)[0]
    mine = crps.entry(tables, first)["overall"]
    if mine is None:
        return "No pixel could be scored."
    sentences = [f"{first} has a {crps.title} of {number(mine)}."]
    for other in others:
        theirs = crps.entry(tables, other)["overall"]
        if not theirs:
            continue
        change = 100 * (mine / theirs - 1)
        result = tables["comparisons"].get(f"{first} minus {other}")
        known = ""
        if result:
            entry = result[crps.of]
            for key in crps.path:
                entry = entry[key]
            low, high = entry["interval"]
            if low is not None:
                sure = "" if low * high > 0 else ", not told apart by this test set"
                known = f" (difference {number(low)} to {number(high)}{sure})"
        sentences.append(
            f"That is {abs(change):.1f} % {'less' if change < 0 else 'more'} than {other}{known}."
        )
    return " ".join(sentences)


def _score_table(tables: dict[str, Any]) -> str:
    head = "".join(
        f"<th>{escape(system)}<br><span class=interval>{found['members']} "
        f"member{'s' if found['members'] > 1 else ''}</span></th>"
        for system, found in tables["systems"].items()
    )
    rows = []
    for headline in headlines(tables):
        best = headline.best(tables)
        cells = []
        for system in tables["systems"]:
            entry = headline.entry(tables, system)
            low, high = entry["interval"]
            bounds = (
                f"<br><span class=interval>{number(low)} to {number(high)}</span>"
                if low is not None
                else ""
            )
            mark = " class=best" if system == best else ""
            cells.append(f"<td{mark}>{number(entry['overall'])}{bounds}</td>")
        rows.append(
            f"<tr><td>{escape(headline.title)}</td><td>{headline.better}</td>{''.join(cells)}</tr>"
        )
    return (
        f"<table><thead><tr><th>score</th><th>better</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _comparisons(tables: dict[str, Any]) -> Iterator[str]:
    if not tables["comparisons"]:
        return
    yield "<h2>Are the differences real?</h2>"
    rows = []
    for pair, result in tables["comparisons"].items():
        for headline in headlines(tables):
            entry = result.get(headline.of, {})
            for key in headline.path:
                entry = entry.get(key, {})
            if entry.get("difference") is None:
                continue
            low, high = entry["interval"]
            interval = "-" if low is None else f"{number(low)} to {number(high)}"
            rows.append(
                f"<tr><td>{escape(pair)}</td><td>{escape(headline.title)}</td>"
                f"<td>{number(entry['difference'])}</td><td>{interval}</td>"
                f"<td>{number(entry['p_value'])}</td></tr>"
            )
    yield (
        "<table class=pairs><thead><tr><th>systems</th><th>score</th><th>difference</th>"
        f"<th>interval</th><th>p</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    yield (
        "<p class=note>Paired by event. The interval resamples events; p is the share of random "
        f"swaps of the two systems that differ as much ({tables['replicates']} swaps). With many "
        "scores in a table, one in twenty is below 0.05 by chance.</p>"
    )


def _published(tables: dict[str, Any]) -> Iterator[str]:
    published = tables["published"]
    if not published:
        return
    of = tables["protocol"]["categorical_of"]
    keys = list(dict.fromkeys(key for row in published for key in row["values"]))
    yield "<h2>Beside published results of the same protocol</h2>"
    rows = []
    for system, found in tables["systems"].items():
        cells = "".join(f"<td>{number(_looked_up(found, of, key))}</td>" for key in keys)
        rows.append(f"<tr><td><b>{escape(system)}</b> (this run)</td><td></td>{cells}</tr>")
    for row in published:
        cells = "".join(f"<td>{number(row['values'].get(key))}</td>" for key in keys)
        rows.append(
            f"<tr><td>{escape(row['system'])}</td><td>{escape(row['table'])}</td>{cells}</tr>"
        )
    head = "".join(f"<th>{escape(key.replace('_', ' ').replace('/', ', '))}</th>" for key in keys)
    yield (
        f"<table><thead><tr><th>system</th><th>source</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _looked_up(found: dict[str, Any], of: str, key: str) -> float | None:
    """Return a score by its published key, of the protocol's choice or of the ensemble."""
    name, *labels = key.split("/")
    for scores in (found["scores"][of], found["scores"]["ensemble"]):
        if name in scores:
            entry = scores[name]
            for label in labels:
                entry = entry[label]
            return entry["overall"]
    return None
