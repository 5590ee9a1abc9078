"""Contract 7: one config class is the YAML section, the flag, the help and the documentation.

A recipe is a YAML file with one section a stage; a section's fields are a frozen dataclass that stands beside
the code that reads it. This module turns YAML and `section.key=value` flags into such classes, refuses unknown
keys with the nearest name and wrong types with what was expected, and prints help from the field comments
(the string literal below each field).
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from utils.console import UserError

T = TypeVar("T")

_TOO_DEEP = "not valid YAML (nested too deeply); take out brackets"


def read_recipe(path: str, flags: Sequence[str], sections: type[T]) -> T:
    """The recipe at `path` with `section.key=value` flags laid over it, as the class `sections`."""
    text = _read_text(Path(path))
    try:
        return _laid_over(path, text, flags, sections)
    except UserError as error:
        raise UserError(_told_of(error, path, text, flags, sections)) from None


def _laid_over(path: str, text: str, flags: Sequence[str], sections: type[T]) -> T:
    values = _read_yaml(text)
    names = [_name(flag) for flag in flags]
    for flag in flags:
        _lay_over(values, flag, sections, names)
    values.setdefault("workspace", f"runs/{Path(path).stem}")
    return parse(sections, values, "")


def _told_of(error: UserError, path: str, text: str, flags: Sequence[str], sections: type) -> str:
    """The error behind what is to be mended: the file, if it says the same alone, else the flag that brought it."""
    for count in range(len(flags)):
        try:
            _laid_over(path, text, flags[:count], sections)
        except UserError as earlier:
            if str(earlier) == str(error):
                break
    else:
        count = len(flags)
    if not count:
        return f"{path}: {error}"
    flag = flags[count - 1].lstrip("-")
    return f"{flag}: {str(error).removeprefix(_name(flag) + ': ')}"


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.yaml"))
        there = ", ".join(near) or f"none in {path.parent.resolve()}"
        raise UserError(f"{path}: no such recipe; there are {there}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a recipe, a .yaml file in it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """YAML as it is meant: of a name that stands twice the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise yaml.MarkedYAMLError(problem=f"{name} stands there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{where}not valid YAML ({getattr(error, 'problem', error)}); mend that line") from None
    except RecursionError:
        raise UserError(_TOO_DEEP) from None
    except ValueError as error:  # a date of a 13th month
        raise UserError(f"not valid YAML ({error}); mend that value") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"a recipe is a mapping of sections (clean:, tokenizer:, …), not a {type(values).__name__}")
    return values


def is_flag(text: str) -> bool:
    """Is this command-line word a field of the recipe: `section.key=value`, dashes or not, or workspace=…?"""
    name, equals, _ = text.lstrip("-").partition("=")
    return bool(equals) and (
        name in ("workspace", "overwrite") or ("." in name and "/" not in name and " " not in name)
    )


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


def _lay_over(values: dict[str, Any], flag: str, sections: type, names: Sequence[str]) -> None:
    """`names` are those of all flags given."""
    text = flag.partition("=")[2]
    *path, last = _name(flag).split(".")
    place = values
    kind: Any = sections
    for part in path:
        kind = field_types(kind).get(part) if dataclasses.is_dataclass(kind) else None
        if place.get(part) is None:
            place[part] = {}
        if not isinstance(place[part], dict):
            raise UserError(f"{part} is not a section of fields")
        place = place[part]
    wanted = field_types(kind).get(last) if dataclasses.is_dataclass(kind) else None
    for rivals in getattr(kind, "ONE_OF", ()):
        if last in rivals:  # a flag takes the place of the recipe's choice among fields that exclude each other
            for rival in rivals:
                if ".".join([*path, rival]) not in names:
                    place.pop(rival, None)
    place[last] = text if _is_literal(wanted, text) else _from_text(text)


def _is_literal(kind: Any, text: str) -> bool:
    """Is a flag's value one text as it stands? A file's name may hold what means something to YAML (`my #1.csv`)."""
    members = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    for inner in (typing.get_args(member)[0] for member in members if typing.get_origin(member) is list):
        return bool(text) and not text.startswith(("[", "{")) and (inner is str or hasattr(inner, "SHORT"))
    return kind is str


def _from_text(text: str) -> Any:
    """A flag's value, read as YAML would (`[a, b]`, `true`, `1e-3`); what YAML cannot read is text."""
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise UserError(_TOO_DEEP) from None
    except (yaml.YAMLError, ValueError):
        return text


# ---------------------------------------------------------------- values to classes


def field_types(cls: Any) -> dict[str, Any]:
    """A dataclass's fields and their types, annotations resolved."""
    return typing.get_type_hints(cls)  # type: ignore[no-any-return]


def parse(cls: type[T], values: Any, name: str) -> T:
    """A mapping as the dataclass `cls`; `name` is the section, for what an error says."""
    if values is None:  # `clean:` with nothing below it
        values = {}
    if not isinstance(values, Mapping):
        raise UserError(f"{name or 'the recipe'} must be a section of fields, got {values!r}")
    hints = {f.name: field_types(cls)[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    rest = getattr(cls, "REST", None)
    known: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in values.items():
        label = f"{name}.{key}" if name else str(key)
        if key in hints and key != rest:
            known[key] = convert(hints[key], value, label)
        elif rest:
            others[str(key)] = value
        else:
            raise UserError(f"unknown field {label}{nearest(str(key), hints, f'{name}.' if name else '')}")
    if rest:
        known[rest] = others
    _refuse_missing(cls, known, name)
    try:
        return cls(**known)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None


def _refuse_missing(cls: type, known: Mapping[str, Any], name: str) -> None:
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and field.name not in known:
            label = f"{name}.{field.name}" if name else field.name
            what = field_comments(cls).get(field.name, "its value").rstrip(".")
            raise UserError(f"{label}: missing; give {what[:1].lower()}{what[1:]}")


def nearest(key: str, names: Iterable[str], prefix: str = "") -> str:
    """The helpful half of an error about a name that is not known; `prefix` is what people type before each."""
    near = difflib.get_close_matches(key, list(names), 1, 0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; there are: {', '.join(prefix + name for name in names)}"


def convert(kind: Any, value: Any, label: str) -> Any:
    """A YAML value as the type of its field, or one line that says what was expected."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(kind, value, label)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value is False and "off" in choices:  # as YAML reads it
            return "off"
        for choice in choices:
            if value == choice and type(value) is type(choice):
                return value
        raise UserError(f"{label}: expected one of {', '.join(map(str, choices))}, got {value!r}")
    if origin is list:
        inner = typing.get_args(kind)[0]
        items = value if isinstance(value, list) else [] if value is None else [value]
        return [convert(inner, item, f"{label}[{i}]") for i, item in enumerate(items)]
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{label}: expected a mapping of names to values, got {value!r}")
        inner = typing.get_args(kind)[1]
        return {str(k): convert(inner, v, f"{label}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast(type, kind), _as_mapping(kind, value), label)
    return _convert_plain(kind, value, label)


def _as_mapping(kind: Any, value: Any) -> Any:
    """A class whose SHORT names a field may be written as that field's value alone."""
    short = getattr(kind, "SHORT", None)
    return {short: value} if short and not isinstance(value, dict) else value


def _convert_union(kind: Any, value: Any, label: str) -> Any:
    members = typing.get_args(kind)
    if value is None and type(None) in members:
        return None
    for member in members:
        if member is type(None):
            continue
        try:
            return convert(member, value, label)
        except UserError:
            continue
    wanted = " or ".join(_describe(m) for m in members if m is not type(None))
    raise UserError(f"{label}: expected {wanted}, got {value!r}")


def _convert_plain(kind: Any, value: Any, label: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if math.isfinite(number := float(value)):  # YAML reads 1e-3 as text
                return number
        except ValueError:
            pass
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is int and isinstance(value, str):
        try:
            return _convert_plain(int, float(value), label)  # 2e9 tokens is a number to people
        except (ValueError, OverflowError):
            pass
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is kind and kind is not float and "\0" not in str(value):
        return value
    raise UserError(f"{label}: expected {_describe(kind)}, got {value!r}")


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


# ---------------------------------------------------------------- help from the same classes


def field_comments(cls: type) -> dict[str, str]:
    """The string literal below each field, subclasses' before their bases'."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def help_text(cls: type, section: str) -> str:
    """The fields of one section: name, default and comment."""
    comments = field_comments(cls)
    lines = [f"{section}: {(inspect.getdoc(cls) or '').splitlines()[0]}"]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name == getattr(cls, "REST", None):
            lines.append(f"  {section}.<name>=…  {comments.get(field.name, '')}")
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        lines.append(f"  {section}.{field.name}={_show(default)}  {comments.get(field.name, '')}".rstrip())
    return "\n".join(textwrap.fill(line, 110, subsequent_indent="      ") for line in lines)


def _show(value: Any) -> str:
    if value is None:
        return "…"
    return str(value).lower() if isinstance(value, bool) else str(value)
