"""Write the SHA-256 sums of the files that pip installs for constraints.txt on x86-64.

    pip install --dry-run --no-deps --ignore-installed --quiet --report report.json \\
      --requirement constraints.txt
    python launch/lock.py report.json

They stand in a file of their own: pip refuses to install a folder, as an editable project or a
container does, under constraints with sums.
"""

import json
import re
import sys
from pathlib import Path

SUMS = Path(__file__).parent / "sums-x86_64.txt"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def canonical(name: str) -> str:
    """Return a package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(report: Path) -> list[str]:
    """Return a line of constraints.txt with its sum for every file in pip's report."""
    pins = {canonical(pin.split("==")[0]): pin for pin in CONSTRAINTS.read_text().splitlines()}
    found = []
    for each in json.loads(report.read_text())["install"]:
        pin = pins.get(canonical(each["metadata"]["name"]))
        digest = each["download_info"]["archive_info"]["hashes"]["sha256"]
        found += [f"{pin} --hash=sha256:{digest}"] if pin else []
    return sorted(found, key=str.lower)


if __name__ == "__main__":
    SUMS.write_text("\n".join(lines(Path(sys.argv[1]))) + "\n")
