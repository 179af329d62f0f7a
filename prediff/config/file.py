"""Reading, overriding and writing configurations, with errors that point at the line."""

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hpc.durable_files import write_durably
from hpc.errors import UserError
from prediff.config.bounded_yaml import load_yaml, parse_yaml
from prediff.config.schema import Config


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Return the resolved configuration.

    Args:
        path: a YAML file; None is the tiny configuration.
        overrides: ``section.key=value`` texts, the value in YAML; they win over the file.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, a value is out of range.
    """
    values: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    source = "configuration"
    if path is not None:
        source = str(path)
        values, lines = _read_yaml(Path(path))
    for text in overrides:
        place = _override(values, text)
        lines = {key: line for key, line in lines.items() if key != place}
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source, lines)) from None


def setting(key: str, value: Any) -> str:
    """Return the ``section.key=value`` text that `load_config` reads back to just this value."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads back to the same value."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
    write_durably(path, text)


def differing_keys(old: Config, new: Config, sections: Sequence[str]) -> list[str]:
    """Return ``section.key: old -> new`` for every difference within the named sections."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    found: list[str] = []
    for section in sections:
        _collect_differences(section, before[section], after[section], found)
    return found


def _collect_differences(name: str, old: Any, new: Any, found: list[str]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            _collect_differences(f"{name}.{key}", old[key], new[key], found)
    elif old != new:
        found.append(f"{name}: {old} -> {new}")


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    if not path.exists():
        raise UserError(f"no configuration at {path}; see configs/ for examples")
    values, tree = load_yaml(path)
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections with keys, found {type(values).__name__}")
    lines: dict[tuple[str, ...], int] = {}
    assert tree is not None, "a file with values has a tree"
    _collect_lines(tree, (), lines)
    return values, lines


def _collect_lines(
    node: yaml.Node, where: tuple[str, ...], lines: dict[tuple[str, ...], int]
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*where, str(key.value))
            lines[place] = key.start_mark.line + 1
            _collect_lines(value, place, lines)


def _override(values: dict[str, Any], text: str) -> tuple[str, ...]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"--set {text}: expected section.key=value")
    parsed, _ = parse_yaml(value, place=f"--set {text}: the value")
    *parents, last = name.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {text}: {parent} is a value, not a section")
        values = inner
    values[last] = parsed
    return (*parents, last)


def _explain(error: ValidationError, source: str, lines: dict[tuple[str, ...], int]) -> str:
    details = error.errors()
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    place = tuple(str(part) for part in first["loc"])
    while place and place not in lines and len(place) > 1 and first["type"] != "extra_forbidden":
        if place[:-1] in lines:
            break
        place = place[:-1]
    line = lines.get(place) or lines.get(place[:-1])
    name = ".".join(str(part) for part in first["loc"] if not _is_union_tag(part))
    prefix = f"{source}:{line}" if line else source
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        nearest = _nearest_key(name)
        hint = f"; did you mean {nearest}?" if nearest else ""
        return f"{prefix}: unknown key {name}{hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict) or not name else f", got {first['input']!r}"
    return f"{prefix}: {name + ': ' if name else ''}{message}{given}{more}"


def _is_union_tag(part: int | str) -> bool:
    text = str(part)
    return bool(set("[-") & set(text)) or text in {"datetime", "float", "int", "str"}


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _all_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _nearest_key(name: str) -> str | None:
    keys = _all_keys(Config)
    close = difflib.get_close_matches(name, keys, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = name.rsplit(".", 1)[-1]
    by_last = {key.rsplit(".", 1)[-1]: key for key in keys}
    close = difflib.get_close_matches(last, by_last, n=1, cutoff=0.7)
    return by_last[close[0]] if close else None
