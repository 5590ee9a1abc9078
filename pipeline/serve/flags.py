"""The short rewriter that stands before Fire: a command line comes in, words that Fire cannot misread go out.

Fire guesses: `--once=3` becomes a number, `--once --help` a flag, an unknown flag a page of usage. Here each value
gets the type of its field in the config class, text staying text, and goes on as a Python literal; a flag that no
field knows is refused with the nearest name.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any

from utils.console import UserError, well_formed
from utils.recipe import convert, field_comments, field_types, nearest

HELP = ("--help", "-h")


def literal_words(words: Sequence[str], config: Any, program: str) -> list[str]:
    """`--name value` or `--name=value` as `--name=<literal>`, checked against the dataclass `config`.

    `--help` comes out alone, wherever it stands.
    """
    found: dict[str, Any] = {}
    kinds = field_types(config)
    names = [field.name for field in dataclasses.fields(config)]
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if word in HELP:
            return [HELP[0]]
        if not word.startswith("-"):
            mend = f"; to say it, {program} --once {_quoted(word)}" if "once" in names else ""
            raise UserError(f"{_shown(word)}: not understood{mend}; options are given as --name value, see --help")
        if name not in names:
            raise UserError(f"{_shown(word)}: no such option{nearest(name, names, '--')}")
        if not equals:
            if not rest:
                raise UserError(f"--{name}: give its value, as --{name}=…")
            value = rest.pop(0)  # whatever it looks like: chat text may begin with dashes
        found[name] = value if kinds[name] in (str, str | None) else convert(kinds[name], value, f"--{name}")
    return [f"--{name}={value!r}" for name, value in found.items()]


def option_help(config: Any, program: str) -> str:
    """Every option of the config class with its default and comment."""
    lines = [f"{program}: {(inspect.getdoc(config) or '').splitlines()[0]}", ""]
    comments = field_comments(config)
    for field in dataclasses.fields(config):
        default = "" if field.default in (None, "") else f"={field.default}"
        head = f"  --{field.name}{default}"
        gap = " " * max(28 - len(head), 2)
        lines.append(textwrap.fill(f"{head}{gap}{comments[field.name]}", 100, subsequent_indent=" " * 28))
    return "\n".join(lines)


def _shown(word: str) -> str:
    """A word as an error can print it: short, on one line, nothing that the terminal cannot encode."""
    return " ".join(well_formed(word).split())[:60]


def _quoted(word: str) -> str:
    return '"' + _shown(word).replace('"', '\\"') + '"'
