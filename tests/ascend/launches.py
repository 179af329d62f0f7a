"""Count what a program launched over the stand-in, from the ledgers of its ranks; print a table.

PREDIFF_STANDIN_LEDGER=DIR python tests/ascend/standin.py PROGRAM ...
python tests/ascend/launches.py DIR
"""

import json
import sys
from collections import Counter
from pathlib import Path


def table(folder: Path) -> str:
    """Return Markdown: a row for each operator, the most launched of the older interface first."""
    counts: Counter[str] = Counter()
    errors = 0
    files = sorted(folder.glob("rank_*.json"))
    for file in files:
        ledger = json.loads(file.read_text())
        errors += len(ledger["errors"])
        counts.update({name: row["count"] for name, row in ledger["launches"].items()})
    older = {name: n for name, n in counts.items() if name.startswith("aclop:")}
    newer = {name: n for name, n in counts.items() if name.startswith("aclnn")}
    lines = [
        f"{len(files)} processes, {errors} errors; aclnn: {sum(newer.values())} launches of "
        f"{len(newer)} operators; aclop: {sum(older.values())} of {len(older)}",
        "",
        "| operator | launches |",
        "|---|---|",
    ]
    for group in (older, newer):
        rows = sorted(group.items(), key=lambda row: (-row[1], row[0]))
        lines += [f"| {name} | {count} |" for name, count in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
