"""Trees of dataclasses from names and values and back: strict about unknown names, told in the library's sentences."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import yaml

from deepbelief.errors import InvalidArgumentError, check_choice

Tree = TypeVar("Tree")


def from_tree(cls: type[Tree], values: Any, where: str = "") -> Tree:
    """A `cls` (a dataclass, nested as its annotations say) from mappings; an unknown name is answered with the nearest.

    Values are checked against the annotations: text where a number belongs is an error, a whole number where a real one
    belongs becomes one.
    """
    if not isinstance(values, Mapping):
        raise InvalidArgumentError(f"{where or 'settings'} must be names and values. Got {values!r}.")
    hints = typing.get_type_hints(cls)
    check_names(list(values), [item.name for item in fields(cls)], where)  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    return cls(**{name: _convert(hints[name], value, f"{prefix}{name}") for name, value in values.items()})


def check_names(names: Sequence[str], known: Sequence[str], where: str = "") -> None:
    """Refuse the first unknown name, with the nearest known one."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}."
            raise InvalidArgumentError(f"{where or 'the settings'} must have known names. Got {name!r}. {remedy}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _convert(kinds[0], value, where)
    if origin is list:
        items = value if isinstance(value, list | tuple) else [value]
        return [_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items)]
    if origin is typing.Literal:
        check_choice(where, value, arguments)
        return value
    if is_dataclass(hint):
        return value if isinstance(value, hint) else from_tree(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    raise InvalidArgumentError(f"{where} must be {words.get(kind, kind.__name__)}. Got {value!r}.")


def to_tree(value: Any) -> Any:
    """Nested mappings and lists of plain values, which `from_tree` takes back."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_tree(getattr(value, item.name)) for item in fields(value)}
    return [to_tree(item) for item in value] if isinstance(value, list | tuple) else value


def to_yaml(value: Any, notes: Mapping[type, Mapping[str, str]] | None = None) -> str:
    """The tree as YAML, each setting with its sentence beside it: the text of its ``Annotated`` type, or of `notes`."""
    return "\n".join(_lines(value, "", notes or {})) + "\n"


def _lines(tree: Any, indent: str, notes: Mapping[type, Mapping[str, str]]) -> list[str]:
    lines = []
    sentences = {**_sentences(type(tree)), **notes.get(type(tree), {})}
    for item in fields(tree):
        value = getattr(tree, item.name)
        note = f"  # {sentences[item.name]}" if item.name in sentences else ""
        if is_dataclass(value):
            lines += [f"{indent}{item.name}:{note}", *_lines(value, indent + "  ", notes)]
        elif isinstance(value, list) and value and is_dataclass(value[0]):
            lines.append(f"{indent}{item.name}:{note}")
            for entry in value:
                first, *rest = _lines(entry, "", notes)
                lines += [f"{indent}  - {first}", *(f"{indent}    {line}" for line in rest)]
        else:
            lines.append(_aligned(f"{indent}{item.name}: {_inline(to_tree(value))}", note))
    return lines


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


def _sentences(cls: type) -> dict[str, str]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _aligned(line: str, note: str) -> str:
    return f"{line:<34}{note}" if note else line
