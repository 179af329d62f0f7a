"""Every key of the configuration with its meaning, its default and what it may be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from prediff.config.schema import Config


@dataclass(frozen=True)
class DescribedKey:
    """One key.

    Attributes:
        name: as ``--set`` takes it.
        default: as YAML writes it.
        allowed: names or bounds that the value must keep to; empty where the type says enough.
        meaning: what it is, with its unit.
    """

    name: str
    default: str
    allowed: str
    meaning: str


def described_keys(model: type[BaseModel] = Config, *, prefix: str = "") -> Iterator[DescribedKey]:
    """Yield the keys of a section and of the sections in it, in the order of the file."""
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from described_keys(kind, prefix=f"{prefix}{name}.")
            continue
        default = "" if field.default is PydanticUndefined else _as_yaml(field.default)
        yield DescribedKey(
            name=prefix + name,
            default=default,
            allowed=_allowed(schema["properties"][name]),
            meaning=field.description or "",
        )


def _as_yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    return str(value)


def _allowed(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    return " or ".join(filter(None, (_one_option(option) for option in options)))


def _one_option(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        inner = schema.get("items", {})
        return f"list of {_one_option(inner)}" if isinstance(inner, dict) and inner else "list"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    kind = {"integer": "whole number", "number": "number", "boolean": "true | false"}
    words = kind.get(str(schema.get("type")), {"null": "null"}.get(str(schema.get("type")), "text"))
    return " ".join([words, *bounds]) if bounds else words
