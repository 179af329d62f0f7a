"""The tables of the report: scores, the scorecard against a rival, FSS by scale, published rows."""

from collections.abc import Iterator
from html import escape
from typing import Any

from prediff.evaluation.verdict import ALL_LEAD_TIMES, Duel, duels
from prediff.pictures.page import wide
from prediff.verification.headline import headlines, number

_STYLES = {
    ("better", True): ("won", "▲", "significantly better"),
    ("better", False): ("ahead", "△", "better, not significantly"),
    ("worse", True): ("lost", "▼", "significantly worse"),
    ("worse", False): ("behind", "▽", "worse, not significantly"),
    ("tie", False): ("even", "=", "equal"),
    ("undefined", False): ("even", "-", "undefined"),
}
FRACTIONS = "fractions_skill_score"


def score_table(tables: dict[str, Any]) -> str:
    """Return the headline scores of all systems; each CSI says how its counts were reduced."""
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
        how = (
            f"<br><span class=interval>{escape(headline.reduction)}</span>"
            if headline.reduction
            else ""
        )
        rows.append(
            f"<tr><td>{escape(headline.title)}{how}</td><td>{headline.better}</td>"
            f"{''.join(cells)}</tr>"
        )
    return wide(
        f"<table><thead><tr><th>score</th><th>better</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def scorecard(tables: dict[str, Any], *, other: str) -> str:
    """Return the first system's scores against another's by lead time, coloured by who is better.

    Signs say what the colours do, for those who do not see them and for black-and-white paper.
    """
    rows = list(duels(tables, other=other))
    if not rows:
        return ""
    minutes = [duel.minutes for duel in rows[0]]
    head = "".join(
        f"<th>{'all' if at == ALL_LEAD_TIMES else f'+{at:g} min'}</th>" for at in minutes
    )
    body = "".join(
        f"<tr><td>{escape(row[0].headline.title)}</td>{''.join(map(_cell, row))}</tr>"
        for row in rows
    )
    return wide(
        f"<table class=card><thead><tr><th>score</th>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cell(duel: Duel) -> str:
    significant = duel.significant and duel.outcome in ("better", "worse")
    style, sign, words = _STYLES[duel.outcome, significant]
    title = f"{words}, difference {number(duel.difference)}"
    return f'<td class={style} title="{escape(title)}">{sign}</td>'


def fractions_table(tables: dict[str, Any], *, of: str = "ensemble") -> str:
    """Return the fractions skill score by threshold and scale, a group of rows a system."""
    first = next(iter(tables["systems"].values()))["scores"][of][FRACTIONS]
    scales = list(next(iter(first.values())))
    head = "".join(f"<th>{escape(scale.removeprefix('scale_'))} px</th>" for scale in scales)
    rows = []
    for system, found in tables["systems"].items():
        for threshold, by_scale in found["scores"][of][FRACTIONS].items():
            label = "mean" if threshold == "mean" else f"≥ {threshold}"
            cells = "".join(_shaded(by_scale[scale]["overall"]) for scale in scales)
            rows.append(f"<tr><td>{escape(system)}, {escape(label)}</td>{cells}</tr>")
    return wide(
        f"<table class=card><thead><tr><th>system, threshold</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _shaded(value: float | None) -> str:
    if value is None:
        return "<td class=even>-</td>"
    shade = 0.08 + 0.5 * max(0.0, min(1.0, value))
    return f'<td style="background: rgba(31,120,180,{shade:.2f})">{number(value)}</td>'


def comparison_table(tables: dict[str, Any]) -> str:
    """Return every paired difference of the headline scores, with interval and p-value."""
    rows = []
    for pair, result in tables["comparisons"].items():
        for headline in headlines(tables):
            entry: Any = result.get(headline.of, {})
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
    return wide(
        "<table class=pairs><thead><tr><th>systems</th><th>score</th><th>difference</th>"
        f"<th>interval</th><th>p</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def published_rows(tables: dict[str, Any]) -> Iterator[str]:
    """Yield the table with published results of the same protocol beside this run's, if any."""
    published = tables["published"]
    if not published:
        return
    of = tables["protocol"]["categorical_of"]
    keys = list(dict.fromkeys(key for row in published for key in row["values"]))
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
    yield wide(
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
