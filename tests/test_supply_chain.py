"""What is installed is what was pinned, and a bill says so."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PINS = (ROOT / "constraints.txt").read_text().splitlines()
SUMS = (ROOT / "launch/sums-x86_64.txt").read_text().splitlines()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(texts: list[str]) -> set[str]:
    """Names of everything that some requirements need here, all the way down."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in texts]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        if name == canonical(PROJECT["name"]):
            for more in requirement.extras:
                texts = PROJECT["optional-dependencies"][more]
                waiting += [(Requirement(text), "") for text in texts]
        elif name not in found:
            found.add(name)
            below = [Requirement(text) for text in requires(name) or ()]
            waiting += [(each, more) for each in below for more in ("", *requirement.extras)]
    return found


def test_every_package_of_an_ordinary_installation_has_a_sum():
    ordinary = PROJECT["dependencies"] + [
        text for extra in ("dev", "mpi") for text in PROJECT["optional-dependencies"][extra]
    ]
    has_sum = {canonical(line.split("==")[0]) for line in SUMS}
    assert wanted(ordinary) - has_sum == set(), "see launch/lock.py"


def test_sums_are_of_the_pinned_versions_and_name_no_host():
    for line in SUMS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line)
        assert line.split()[0] in PINS, "see launch/lock.py"
    for line in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line)


def test_pins_lie_within_the_ranges_of_pyproject():
    pinned = {canonical(p.split("==")[0]): Version(p.split("==")[1]) for p in PINS}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = pinned[canonical(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_codecs_that_run_code_of_a_foreign_zarr_are_excluded():
    found = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
    assert not found["numcodecs"].specifier.contains("0.16.5")


def test_what_builds_the_package_is_pinned():
    for text in SETTINGS["build-system"]["requires"]:
        (bound,) = Requirement(text).specifier
        assert bound.operator == "=="


def test_the_bill_of_materials_is_the_same_twice_and_holds_no_path(tmp_path):
    for name in ("a.json", "b.json"):
        command = [sys.executable, str(ROOT / "launch/sbom.py"), str(tmp_path / name)]
        subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert '"bomFormat": "CycloneDX"' in text
    assert "pkg:pypi/mindspore@" in text
    assert str(ROOT) not in text
