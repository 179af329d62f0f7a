"""Write what is installed in this environment as a CycloneDX bill of materials.

    python launch/sbom.py sbom.json

Names, versions, licences and dependencies come from the installed packages, SHA-256 sums from
sums-x86_64.txt. The same environment gives the same bytes: no time, host or path is in it.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = "prediff-hpc"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def canonical(name: str) -> str:
    """Return a package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sums() -> dict[str, list[str]]:
    """Return the known SHA-256 sums by name."""
    text = (ROOT / "launch/sums-x86_64.txt").read_text()
    return {
        canonical(name): re.findall("[0-9a-f]{64}", tail) for name, _, tail in _PIN.findall(text)
    }


def reference(found: Distribution) -> str:
    return f"pkg:pypi/{canonical(found.name)}@{found.version}"


def component(found: Distribution, hashes: list[str]) -> dict[str, Any]:
    """Return one package as CycloneDX describes it."""
    told = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
    licence = told.splitlines()[0][:100] if told.strip() else ""
    return {
        "type": "library",
        "bom-ref": reference(found),
        "name": found.name,
        "version": found.version,
        "purl": reference(found),
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
        **({"hashes": [{"alg": "SHA-256", "content": h} for h in hashes]} if hashes else {}),
    }


def bill() -> dict[str, Any]:
    """Return the whole bill; the project is its subject."""
    found = {canonical(each.name): each for each in distributions()}
    hashes = sums()
    edges = []
    for _, each in sorted(found.items()):
        needs = {
            canonical(match[0]) for text in each.requires or () if (match := _NAME.match(text))
        }
        edges.append(
            {
                "ref": reference(each),
                "dependsOn": [reference(found[need]) for need in sorted(needs & set(found))],
            }
        )
    project = found.get(PROJECT)
    assert project is not None, f"{PROJECT} is not installed here"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(project, []) | {"type": "application"}},
        "components": [
            component(each, hashes.get(name, []))
            for name, each in sorted(found.items())
            if name != PROJECT
        ],
        "dependencies": edges,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n")
