"""What an installed package must carry beside Python."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_sources_of_operators_are_shipped_from_every_folder():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    assert all(pattern.startswith("**/") for pattern in patterns), "folders without __init__.py"
    others = [
        path
        for package in ("hpc", "prediff", "profiling")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(others) > 25
    missing = [path for path in others if not any(path.match(pattern) for pattern in patterns)]
    assert not missing
