"""`python -m profiling NAME`: the scripts behind docs/benchmarks, one command each.

A script is a module of this folder (or of `benchmarks`) with a function `main`, whose typed
arguments are its options and whose module's docstring is its help. It is imported when it is run.
"""

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import ast  # isort: skip
import importlib
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hpc.errors import UserError

HERE = Path(__file__).parent
NOT_OURS = {"pytorch_denoiser"}  # runs in PyTorch's environment, without this project


def scripts() -> dict[str, tuple[str, str]]:
    """Return module and docstring of every script, by the name of its command."""
    found = {}
    for file in sorted([*HERE.glob("[a-z]*.py"), *HERE.glob("benchmarks/[a-z]*.py")]):
        tree = ast.parse(file.read_text())
        runs = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
        if runs and file.stem not in NOT_OURS:
            module = ".".join(file.relative_to(HERE.parent).with_suffix("").parts)
            found[file.stem.replace("_", "-")] = (module, ast.get_docstring(tree) or "")
    return found


class Scripts(TyperGroup):
    """Imports the script that is run, and none for the list of all."""

    def list_commands(self, ctx):
        return list(scripts())

    def get_command(self, ctx, cmd_name):
        known = scripts()
        if cmd_name not in known:
            return None
        first = " ".join(known[cmd_name][1].split("\n\n")[0].split())
        return TyperCommand(cmd_name, short_help=first)

    def resolve_command(self, ctx, args):
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and stub else stub, rest


def load(name: str) -> Any:
    """Return the command of a script, which is imported for it."""
    module, text = scripts()[name]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    paragraphs = ["\b\n" + paragraph for paragraph in text.split("\n\n")]
    app.command(name, help="\n\n".join(paragraphs))(importlib.import_module(module).main)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=Scripts,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def explain() -> None:
    """Measure: each command is a script behind a table in docs/benchmarks.

    `python -m profiling NAME --help` says what it prints, what it takes and how long that is.
    """


def main() -> None:
    """Run one script; bad input is one line and exit code 2."""
    try:
        app(prog_name="python -m profiling")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
