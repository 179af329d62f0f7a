"""YAML of unknown origin: plain values alone, no aliases, bounded size and depth.

Nine lines of aliases of aliases stand for a billion values, and ten thousand open brackets exhaust
the stack of a parser: both are refused while the text is read, before anything is built of it.
"""

from pathlib import Path
from typing import Any

import yaml

from hpc.errors import UserError

LARGEST_FILE = 1 << 20
"""Bytes; our longest configuration has less than a hundredth of it."""
DEEPEST = 20
"""Levels of nesting."""
LONGEST_SCALAR = 4096
"""Characters of one value: Python takes time that is quadratic in the digits of a number."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds, and an error where a key stands twice."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        self._depth += 1
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases (*name) are not read here: write the value out", event)
        if event.tag is not None:
            raise _refusal("tags (!!name) are not read here: leave them out", event)
        if self._depth > DEEPEST:
            raise _refusal(f"nested deeper than {DEEPEST} levels", event)
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_SCALAR:
            raise _refusal(f"a value of more than {LONGEST_SCALAR} characters", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refusal(f"the key {key.value!r} stands twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _refusal(reason: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=where.start_mark)


def load_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """Return the values of a file and its tree, which knows the lines.

    Raises:
        UserError: it cannot be read, is too large, or is not YAML that is read here.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{path} has more than {LARGEST_FILE} bytes: that is no configuration")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"no UTF-8 text: {error}"
        raise UserError(f"cannot read {path}: {reason}") from None
    return parse_yaml(text, place=str(path))


def parse_yaml(text: str, *, place: str) -> tuple[Any, yaml.Node | None]:
    """Return the values of a text and its tree.

    Raises:
        UserError: not YAML, or more than is read here; begins with `place`.
    """
    try:
        loader = _Loader(text)
        try:
            tree = loader.get_single_node()
            return (None if tree is None else loader.construct_document(tree)), tree
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{place} is not YAML: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Where and what, without the excerpt of the text that PyYAML adds."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return where + " ".join(problem.split())
