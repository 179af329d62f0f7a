"""What a site administrator and a reader of the pages rely on, as far as files can show it."""

import hashlib
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from test_documents import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))


def links(page: Path) -> set[Path]:
    found = re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    return {(page.parent / link).resolve() for link in found if "://" not in link}


def test_every_page_is_reached_from_the_readme_and_no_link_leads_nowhere():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for link in links(page):
            assert link.exists(), f"{page.name} links to {link}"
            if link.suffix == ".md" and link not in seen:
                waiting.append(link)
    assert not [page for page in PAGES if ROOT / "docs" / page not in seen]


def test_the_site_has_every_page():
    def leaves(entry):
        if isinstance(entry, str):
            yield entry
        for inner in entry.values() if isinstance(entry, dict) else entry:
            if not isinstance(entry, str):
                yield from leaves(inner)

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(leaves(settings["nav"])) == sorted(map(str, PAGES))


def test_the_workflow_calls_the_test_command():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert "bash launch/test.sh" in steps


def test_the_citation_names_the_packages_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert f"\n## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_unit_starts_a_command_that_exists():
    unit = (ROOT / "launch" / "prediff-serve.service").read_text()
    words = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1])
    assert words[0].endswith("/bin/prediff")
    parse(words[1:])


def test_containers_install_what_is_pinned_and_start_the_command():
    for path in (ROOT / "containers").iterdir():
        text = path.read_text()
        assert "--constraint /opt/prediff/constraints.txt" in text, path.name
        assert "prediff" in text.rsplit("ENTRYPOINT" if "Dockerfile" in path.name else "exec")[-1]


@pytest.mark.parametrize("script", sorted((ROOT / "launch").glob("*.sh")), ids=lambda p: p.name)
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_wheelhouse_needs_its_folder_and_the_environment_takes_it(tmp_path):
    script = ROOT / "launch" / "wheelhouse.sh"
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: bash launch/wheelhouse.sh FOLDER" in done.stderr
    fake, wheels = tmp_path / "venv" / "bin", tmp_path / "wheels"
    fake.mkdir(parents=True)
    wheels.mkdir()
    (wheels / "a.whl").write_bytes(b"a")
    digest = hashlib.sha256(b"a").hexdigest()
    (wheels / "SHA256SUMS").write_text(f"{digest}  a.whl\n")
    python = fake / "python"
    python.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/said\nexit 1\n')
    python.chmod(0o755)
    subprocess.run(
        ["bash", "-c", f"source {ROOT}/launch/env.sh"],
        env=os.environ
        | {"PREDIFF_VENV": str(tmp_path / "venv"), "PREDIFF_WHEELHOUSE": str(wheels)},
        capture_output=True,
    )
    said = (tmp_path / "said").read_text()
    assert f"--no-index --find-links {wheels}" in said
