"""The page that an engineer acts on: one self-contained HTML file about one profile."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import median

from prediff.pictures.figures import figure_to_png
from prediff.pictures.page import html_page, inline_picture, wide
from prediff.profiler.record import PARTS, ModuleWork, Report
from prediff.profiler.report_pictures import memory_figure, parts_figure, roofline_figure

LARGEST = 3
PERFETTO = "https://ui.perfetto.dev"
NOISY = 0.3
"""Steps that vary by more than this share are too few or too disturbed to judge by."""
STARTING = ("install", "import", "compile")
ROWS = 20
MEANING = {
    "compute": "operators of the compiled graphs",
    "communication": "collectives that no computing hides, with waiting for slower ranks",
    "data": "waiting for the batch",
    "eager": "operators outside of the graphs, and the gaps beside them",
    "host": "no operator runs: graph starts, copies, Python",
}


def write_page(path: Path, report: Report) -> None:
    """Write the page of a report."""
    title = f"Profile {report.name}: {report.stage}"
    path.write_text(html_page(title, "\n".join(_body(title, report))), encoding="utf-8")


def summary(report: Report) -> str:
    """Return a report in a few lines for the terminal."""
    lines = [
        f"{report.stage}: {report.step_seconds:.3f} s/step, "
        f"{report.samples / report.step_seconds:.3g} samples/s, MFU {100 * report.mfu:.1f} % of "
        f"{report.peaks.operations / 1e9:.4g} GFLOP/s ({report.peaks.name})"
    ]
    for loss in report.losses[:LARGEST]:
        lines.append(f"- {loss.cause}: {loss.words} {loss.advice}")
    if _noise(report):
        lines.append(_noise(report))
    return "\n".join(lines)


def _body(title: str, report: Report) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p class=note>{escape(report.made)}; inputs {escape(report.inputs)}.</p>"
    yield (
        f"<p class=lead>{report.step_seconds:.3g} s a step of {report.samples} samples on "
        f"{len(report.ranks)} ranks: {report.samples / report.step_seconds:.3g} samples/s, "
        f"MFU {100 * report.mfu:.1f} %.</p>"
    )
    yield "<h2>The largest losses</h2><ol>"
    for loss in report.losses[:LARGEST]:
        share = loss.seconds / report.ranks[0].typical().total
        yield (
            f"<li><b>{escape(loss.cause)}</b>, {share:.0%} of a step. {escape(loss.words)} "
            f"<i>Try:</i> {escape(loss.advice)}</li>"
        )
    yield "</ol><h2>Where a step's time goes</h2>"
    yield inline_picture(
        figure_to_png(parts_figure(report)),
        "png",
        "parts of a step",
        "The step of median length under the profiler. No pipeline bubble: every rank holds "
        "the whole network.",
    )
    yield _parts_table(report)
    yield _profiler_note(report)
    yield "<h2>Steps</h2>"
    yield _steps_table(report)
    yield "<h2>Operators</h2>"
    yield _operator_table(report)
    yield "<h2>Modules, forward</h2>"
    yield _module_table(report.modules, report)
    yield inline_picture(
        figure_to_png(roofline_figure(report.modules, [report.peaks])),
        "png",
        "roofline",
        "Each point is a module's forward products: on the line is as fast as the device allows.",
    )
    if report.parameters:
        yield "<h2>Parameters</h2>"
        yield _parameter_table(report)
    yield "<h2>Memory</h2>"
    peak = max(rank.resident_peak for rank in report.ranks) / 1e9
    yield f"<p>Largest process: {peak:.2f} GB resident at its peak.</p>"
    figure = memory_figure(report)
    if figure is not None:
        yield inline_picture(
            figure_to_png(figure), "png", "memory", "Allocated from MindSpore's pool."
        )
    yield from _compilation(report)
    yield from _goodput(report)
    yield "<h2>Machine</h2>"
    peaks = report.peaks
    facts = {
        **report.machine,
        "peak of products": f"{peaks.operations / 1e9:.4g} GFLOP/s, {peaks.name}",
        "peak of memory": f"{peaks.bandwidth / 1e9:.3g} GB/s",
        "operations a step": f"{report.operations / 1e9:.4g} GFLOP, forward and backward",
    }
    yield _table(["", ""], [[key, value] for key, value in facts.items()])
    yield (
        f'<p>Every operator on a time line: open <a href="{PERFETTO}">Perfetto</a> and drop a file '
        '<code>trace_view.json</code> of <a href="traces/">traces/rank_N</a> on it; the trace '
        "stays in the browser.</p>"
    )


def _compilation(report: Report) -> Iterator[str]:
    longest = max(report.ranks, key=lambda rank: rank.compile_seconds)
    yield "<h2>Compilation</h2>"
    yield f"<p>{longest.compile_seconds:.1f} s on rank {longest.rank}, without the cache.</p>"
    if longest.compile_phases:
        rows = [[phase, f"{seconds:.2f}"] for phase, seconds in longest.compile_phases.items()]
        yield _table(["phase", "s"], rows)


def _goodput(report: Report) -> Iterator[str]:
    """Yield where the run's time went outside of the profile."""
    if not report.goodput:
        return
    total = sum(report.goodput.values())
    started = sum(report.goodput.get(category, 0.0) for category in STARTING)
    steps = report.goodput.get("step", 0.0)
    yield "<h2>The run so far</h2>"
    yield (
        f"<p>{steps / total:.0%} of this stage's {total:.0f} s passed in compiled steps; "
        f"{steps / max(total - started, 1e-9):.0%} of what came after starting and compiling.</p>"
    )
    rows = [
        [name.replace("_", " "), f"{seconds:.1f}", f"{seconds / total:.1%}"]
        for name, seconds in report.goodput.items()
    ]
    yield _table(["", "s", "share"], rows)


def _parts_table(report: Report) -> str:
    means = [rank.typical() for rank in report.ranks]
    rows = []
    for part in PARTS:
        seconds = [getattr(mean, part) for mean in means]
        share = sum(seconds) / sum(mean.total for mean in means)
        rows.append(
            [part, MEANING[part], f"{share:.1%}", *(f"{1e3 * value:.1f}" for value in seconds)]
        )
    return _table(["", "", "share", *(f"rank {r.rank}, ms" for r in report.ranks)], rows)


def _steps_table(report: Report) -> str:
    rows = []
    for rank in report.ranks:
        seconds = sorted(rank.step_seconds)
        marks = (seconds[0], median(seconds), seconds[-1])
        rows.append(
            [f"rank {rank.rank}", str(len(seconds)), *(f"{1e3 * each:.1f}" for each in marks)]
        )
    table = _table(["", "steps", "shortest, ms", "median, ms", "longest, ms"], rows)
    return table + (f"<p class=note>{escape(_noise(report))}</p>" if _noise(report) else "")


def _noise(report: Report) -> str:
    """Return a warning where the steps vary too much to be judged by, or nothing."""
    if report.variation <= NOISY and len(report.ranks[0].step_seconds) > 2:
        return ""
    return (
        f"{len(report.ranks[0].step_seconds)} steps that vary by {report.variation:.0%} judge no "
        "difference smaller than that: time more with --steps, on a host that does nothing else."
    )


def _parameter_table(report: Report) -> str:
    total = sum(report.parameters.values())
    rows = [
        [module, f"{count:,}", f"{count / total:.1%}"]
        for module, count in sorted(report.parameters.items(), key=lambda item: -item[1])[:ROWS]
    ]
    return _table(["module", "parameters", "share"], [*rows, ["all", f"{total:,}", "100%"]])


def _profiler_note(report: Report) -> str:
    rank = report.ranks[0]
    cost = rank.typical().total / median(rank.step_seconds) - 1
    return (
        f"<p class=note>Steps under the profiler take {cost:+.0%} of a step without it; the step "
        "time and the MFU above are without.</p>"
    )


def _operator_table(report: Report) -> str:
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for operator in report.ranks[0].operators:
        entry = sums[operator.kind, operator.phase]
        entry[0] += operator.calls
        entry[1] += operator.seconds
    total = sum(seconds for _, seconds in sums.values()) or 1.0
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])[:ROWS]
    rows = [
        [kind, phase, f"{calls:.0f}", f"{1e3 * seconds:.2f}", f"{seconds / total:.1%}"]
        for (kind, phase), (calls, seconds) in ordered
    ]
    return _table(["operator", "phase", "calls a step", "ms a step", "share"], rows) + (
        "<p class=note>Rank 0. Equal backward operators share one name, so backward times are told "
        "by operator only, forward times also by module.</p>"
    )


def _module_table(modules: Sequence[ModuleWork], report: Report) -> str:
    rows = []
    # A rank's share of the peaks: points and floors are of one rank's operators.
    ranks = len(report.ranks)
    for work in sorted(modules, key=lambda work: -work.seconds)[:ROWS]:
        floor = ranks * report.peaks.floor(operations=work.operations, moved=work.bytes)
        rate = work.operations / work.seconds if work.seconds else 0.0
        rows.append(
            [
                work.module,
                f"{work.operations / 1e6:.4g}",
                f"{work.bytes / 1e6:.3g}",
                f"{1e3 * work.seconds:.2f}",
                f"{rate / 1e9:.3g}",
                f"{ranks * rate / report.peaks.operations:.1%}",
                f"{work.seconds / floor:.1f}" if work.seconds and floor else "-",
            ]
        )
    head = [
        "module",
        "MFLOP",
        "MB",
        "ms",
        "GFLOP/s",
        "of the peak",
        "times the roofline's least time",
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return wide(f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>")
