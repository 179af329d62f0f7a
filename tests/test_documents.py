"""Every command that the documents show is one that the software understands."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from prediff.cli import app
from profiling.__main__ import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDERS = {"DIR": ".", "SEVIR_DIR": ".", "FILE": "f", "RUN": "run", "NAME": "name"}


def shown_commands() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        inline = re.findall(r"`(prediff [^`\n]+)`", text)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        scripts = re.findall(r"^ {4,}(.*python -m profiling .*)$", text.replace("\\\n", " "), re.M)
        for line in [*lines, *inline, *scripts]:
            if line.strip() and not line.startswith("#"):
                found.append((document.name, line))
    return found


def parse(words: list[str]) -> None:
    if words == ["--version"]:
        return
    command, path = typer.main.get_command(app), []
    while hasattr(command, "commands"):
        assert words, f"{' '.join(path)} needs a subcommand"
        assert words[0] in command.commands, f"prediff has no {' '.join([*path, words[0]])}"
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if "--help" not in words:
        command.make_context(" ".join(path), list(words))


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_a_shown_command_parses(document, line):
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    scripts = [word for word in words if word.startswith(("launch/", "profiling/", "tests/"))]
    for script in scripts:
        assert (ROOT / script).exists(), script
    if "launch/msrun_8p.sh" in words:
        parse(["launch", *words[words.index("launch/msrun_8p.sh") + 1 :]])
    elif words[1:3] == ["-m", "profiling"]:
        load(words[3]).make_context(words[3], words[4:])
    elif "prediff" in words:
        parse(words[words.index("prediff") + 1 :])


def test_the_readme_names_both_main_commands():
    text = (ROOT / "README.md").read_text()
    assert "bash launch/msrun_8p.sh\n" in text
    assert "bash launch/test.sh\n" in text


COMMANDS = {"train", "status", "plan", "profile", "micro_batch"}


def test_the_architecture_names_files_and_functions_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    paths = re.findall(r"`((?:hpc|prediff|profiling|launch|tests|docs)/[\w./]*)`", prose)
    assert len(paths) > 40
    for path in paths:
        assert (ROOT / path).exists(), path
    sources = "\n".join((ROOT / path).read_text() for path in paths if path.endswith(".py"))
    names = re.findall(r"`([A-Za-z_]+)`", prose)
    assert len(names) > 10
    for name in set(names) - {"main", *COMMANDS}:
        assert re.search(rf"^(class|def) {name}\b", sources, re.M), name


def test_the_architecture_stays_short():
    assert len((ROOT / "docs" / "architecture.md").read_text().split()) < 1500
