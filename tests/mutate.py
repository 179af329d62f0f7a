"""How good are the tests? Change the code in one place, run its tests, and see whether one fails.

    python tests/mutate.py --seed 7 --mutants 100 --report mutants.json
    python tests/mutate.py --seed 7 --mutants 10 hpc/cluster prediff/data

Each mutant is one seeded change of one line, in a copy of the checkout: a comparison, a sign or a
boolean turned, a number moved by one, a statement left out. The tests that run are those of the
folder that mirrors the module's, and those that name the module. A mutant that lives is a line
whose meaning no test holds, or one that changes nothing but words: read it before you judge.
"""

import argparse
import ast
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("hpc", "prediff")
SECONDS = 300
"""Longest run of one mutant's tests; a test that hangs has noticed."""

TURNED = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    """One change: the text of a node, and what stands there instead."""

    module: str
    line: int
    before: str
    after: str
    start: int
    stop: int


def mutants_of(path: Path, root: Path) -> Iterator[Mutant]:
    """Yield every change of a module that the rules know."""
    source = path.read_text()
    lines = source.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode()))
    for node in ast.walk(ast.parse(source)):
        changed = _changed(node)
        if changed is None or not hasattr(node, "lineno"):
            continue
        start = offsets[node.lineno - 1] + node.col_offset
        stop = offsets[node.end_lineno - 1] + node.end_col_offset
        before = source.encode()[start:stop].decode()
        if before != changed:
            yield Mutant(str(path.relative_to(root)), node.lineno, before, changed, start, stop)


def _changed(node: ast.AST) -> str | None:
    """Return what a node is turned into, None if no rule is for it."""
    match node:
        case ast.Compare(left=left, ops=[op, *rest], comparators=others) if type(op) in TURNED:
            return ast.unparse(ast.Compare(left, [TURNED[type(op)](), *rest], others))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in TURNED:
            if isinstance(left, ast.JoinedStr) or isinstance(right, ast.JoinedStr):
                return None
            return f"({ast.unparse(ast.BinOp(left, TURNED[type(op)](), right))})"
        case ast.BoolOp(op=op, values=values):
            return f"({ast.unparse(ast.BoolOp(TURNED[type(op)](), values))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"bool({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            return str(not value)
        case ast.Constant(value=int(value)):
            return str(value + 1)
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            return "pass"
    return None


def tests_of(module: str, root: Path) -> list[str]:
    """Return the test files of a module: of its mirror folder, and those that name it."""
    path = Path(module)
    name = str(path.with_suffix("")).replace("/", ".")
    mirror = root / "tests" / path.parent
    near = {file for file in mirror.glob("test_*.py") if path.stem in file.stem}
    near |= {file for file in (root / "tests").rglob("test_*.py") if name in file.read_text()}
    return sorted(str(file.relative_to(root)) for file in near or mirror.glob("test_*.py"))


def run(mutant: Mutant, root: Path) -> tuple[str, float]:
    """Return ``killed``, ``lived`` or ``no tests``, and the seconds it took."""
    tests = tests_of(mutant.module, root)
    if not tests:
        return "no tests", 0.0
    path = root / mutant.module
    source = path.read_bytes()
    changed = source[: mutant.start] + mutant.after.encode() + source[mutant.stop :]
    path.write_bytes(changed)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=SECONDS)
        outcome = "lived" if done.returncode == 0 else "killed"
    except subprocess.TimeoutExpired:
        outcome = "killed"
    finally:
        path.write_bytes(source)
    return outcome, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs="*", default=PACKAGES, help="folders or modules to change")
    parser.add_argument("--seed", type=int, default=0, help="chooses the mutants")
    parser.add_argument("--mutants", type=int, default=20, help="how many")
    parser.add_argument("--report", type=Path, help="JSON with every mutant and its outcome")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", "runs"))
        modules = sorted(
            file
            for place in options.places
            for file in ([root / place] if place.endswith(".py") else (root / place).rglob("*.py"))
        )
        found = [mutant for module in modules for mutant in mutants_of(module, root)]
        chosen = random.Random(options.seed).sample(found, min(options.mutants, len(found)))
        outcomes = []
        for number, mutant in enumerate(chosen, start=1):
            outcome, seconds = run(mutant, root)
            outcomes.append({**asdict(mutant), "outcome": outcome, "seconds": round(seconds, 1)})
            place = f"{mutant.module}:{mutant.line}"
            change = f"{mutant.before[:60]!r} -> {mutant.after[:60]!r}"
            print(
                f"{number}/{len(chosen)} {outcome:8} {seconds:4.0f} s  {place}  {change}",
                flush=True,
            )
    killed = sum(each["outcome"] == "killed" for each in outcomes)
    print(f"{killed} of {len(outcomes)} killed (seed {options.seed})")
    if options.report is not None:
        options.report.write_text(json.dumps(outcomes, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
