"""The look of every report: pieces of content come in, one self-contained HTML page goes out.

No outside asset and no script: style, charts (`utils/charts.py`, inline SVG with the browser's own text, so that
Chinese shows everywhere) and content are in the one file, which may be mailed, printed, or opened without a
network. Light or dark follows the reader's system. Everything is escaped but `Html`, which only the functions
here and in `utils/charts.py` make.

    page("A report", [Section("Scores", [facts({"exact": "99 %"}), table(["name", "share"], rows)])])
"""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from utils.console import is_chinese, tell, well_formed

NOTHING = "–"
"""Stands in a table where there is no value."""

MOST_PAIRS = 100_000
"""Equal characters of two texts up to which they are compared letter by letter; more would take seconds."""


class Html(str):
    """Text that is markup already; a plain `str` is escaped wherever it is shown."""


@dataclass(frozen=True)
class Section:
    """A headline, what to know about it in a sentence or two, and its content."""

    title: str
    blocks: Sequence[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Answer:
    """A question with what came back, beside what was expected if that is known."""

    question: str
    said: str
    expected: str | None = None
    right: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Excerpt:
    """A piece of somebody's text, with what there is to say about it: the first label stands out."""

    text: str
    labels: Sequence[str] = ()


def escape(value: object) -> Html:
    """Any value as text of the page; what no UTF-8 file can hold shows as U+FFFD."""
    if isinstance(value, Html):
        return value
    kept = "".join(c if c >= " " or c in "\t\n" else "\ufffd" for c in well_formed(str(value)))
    return Html(html.escape(kept))


def number(value: object) -> str:
    """A number as people read it: thousands apart, no more digits than mean something."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


# ---------------------------------------------------------------- the page


def percent(part: float, whole: float = 1.0) -> str:
    """A share, to what still means something: never 0 % or 100 % of what is not nothing or all."""
    if not whole:
        return NOTHING
    value = 100 * part / whole
    if value in (0, 100):
        return f"{value:.0f} %"
    if value < 0.01:
        return "< 0.01 %"
    if value > 99.99:
        return "> 99.99 %"
    return f"{value:.{1 if 1 <= value <= 99 else 2}f} %"


def page(title: str, sections: Sequence[Section], lead: str = "", reload: int = 0) -> str:
    """The whole document; `lead` is the sentence under the headline; it loads itself anew after `reload` seconds."""
    renewed = f'<meta http-equiv="refresh" content="{reload}">\n' if reload else ""
    shown = [section for section in sections if section.blocks or section.note]
    links = "".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(shown))
    nav = f"<nav>{links}</nav>" if len(shown) > 2 else ""
    body = "\n".join(_section(i, section) for i, section in enumerate(shown))
    return f"""<!doctype html>
<html lang="{"zh-CN" if is_chinese() else "en"}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
{renewed}<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><p class="brand">{MARK}<span>{tell("Yaya", "牙牙")}</span></p><h1>{escape(title)}</h1>
{f'<p class="lead">{escape(lead)}</p>' if lead else ""}{nav}</header>
<main>
{body}
</main>
</body>
</html>
"""


def _section(index: int, section: Section) -> str:
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    blocks = "\n".join(escape(block) for block in section.blocks)
    return f'<section id="s{index}"><h2>{escape(section.title)}</h2>{note}\n{blocks}</section>'


# ---------------------------------------------------------------- blocks


def paragraph(text: str) -> Html:
    """A paragraph of prose."""
    return Html(f"<p>{escape(text)}</p>")


def facts(values: Mapping[str, Any]) -> Html:
    """Tiles: a name and its value, or (value, small print)."""
    tiles = []
    for name, value in values.items():
        main, small = value if isinstance(value, tuple) else (value, "")
        below = f"<small>{escape(small)}</small>" if small else ""
        tiles.append(f"<div><dt>{escape(name)}</dt><dd>{escape(number(main))}{below}</dd></div>")
    return Html(f'<dl class="facts">{"".join(tiles)}</dl>')


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Html:
    """Columns of numbers stand to the right; a cell may be `Html`."""
    filled = [list(row) for row in rows]
    right = [bool(filled) and all(_is_figure(row[i]) for row in filled) for i in range(len(head))]
    mark = [' class="n"' if side else "" for side in right]
    top = "".join(f"<th{mark[i]}>{escape(name)}</th>" for i, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{mark[i]}>{escape(_cell(cell))}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in filled
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(f'<div class="wide"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def _is_figure(cell: object) -> bool:
    if isinstance(cell, int | float) or cell is None:
        return True
    if not isinstance(cell, str) or isinstance(cell, Html):
        return False
    try:
        float(cell.strip("<> %×").replace(",", ""))
    except ValueError:
        return cell == NOTHING
    return True


def _cell(cell: object) -> object:
    return NOTHING if cell is None else cell if isinstance(cell, Html) else number(cell)


def clamped(name: str) -> Html:
    """A name of any length in two lines; all of it under the pointer."""
    return Html(f'<span class="clamp" title="{escape(name)}">{escape(name)}</span>')


def meter(share: float, low: float | None = None, high: float | None = None) -> Html:
    """A share of 1 as a thin bar, with its interval if there is one."""
    span = ""
    if low is not None and high is not None:
        span = f'<b style="left:{low:.1%};width:{max(high - low, 0.004):.1%}"></b>'
    return Html(f'<span class="meter"><i style="width:{min(max(share, 0.0), 1.0):.1%}"></i>{span}</span>')


def qa(answers: Iterable[Answer]) -> Html:
    """Questions and answers; where something else was expected, it stands beside what was said."""
    return Html(f'<div class="qa">{"".join(_answer(answer) for answer in answers)}</div>')


def _answer(answer: Answer) -> str:
    sign = ""
    if answer.right is not None:
        name = tell("right", "对") if answer.right else tell("wrong", "错")
        sign = f'<span class="{"yes" if answer.right else "no"}" title="{name}">{"✓" if answer.right else "✗"}</span>'
    note = f"<small>{escape(answer.note)}</small>" if answer.note else ""
    said = f"<p>{escape(answer.said)}</p>" if answer.said.strip() else f'<p class="none">{_nothing()}</p>'
    if answer.expected is not None and answer.expected != answer.said:
        labels = tell("said", "所答"), tell("expected", "应答")
        said = (
            f'<div class="pair"><div><h4>{labels[0]}</h4>{said}</div>'
            f"<div><h4>{labels[1]}</h4><p>{escape(answer.expected)}</p></div></div>"
        )
    return f"<article><h3>{sign}{escape(answer.question)}{note}</h3>{said}</article>"


def folded(summary: str, *blocks: str) -> Html:
    """Content that opens at a click; print shows the summary alone."""
    return Html(f"<details><summary>{escape(summary)}</summary>{''.join(escape(b) for b in blocks)}</details>")


def excerpts(shown: Iterable[Excerpt]) -> Html:
    """Texts one below the other, each with its labels; line ends are theirs, and so is the direction they run in."""
    return Html(f'<div class="excerpts">{"".join(_excerpt(one) for one in shown)}</div>')


def _excerpt(one: Excerpt) -> str:
    labels = "".join(f"<span>{escape(label)}</span>" for label in one.labels if label)
    head = f'<p class="labels">{labels}</p>' if labels else ""
    text = f'<p dir="auto">{escape(one.text)}</p>' if one.text.strip() else f'<p class="none">{_nothing()}</p>'
    kind = ' class="labelled"' if labels else ""
    return f"<article{kind}>{head}{text}</article>"


def _nothing() -> str:
    return tell("(nothing)", "（无）")


# ---------------------------------------------------------------- what changed


def changes(before: str, after: str, context: int | None = None, unfinished: bool = False) -> Html:
    """One text as it became another: what went is struck out, what came is marked, and what nobody can see is named.

    `context` is how many characters beside a change are shown; None shows all of the text. An `unfinished` text
    goes on beyond its closing "…": that the other one goes on further is no change.
    """
    goes_on = [unfinished and text.endswith("…") for text in (before, after)]
    parts = _together(_edits(*(t.removesuffix("…") if unfinished else t for t in (before, after))))
    if parts and ((goes_on[0] and not parts[-1][0]) or (goes_on[1] and not parts[-1][1])):
        parts.pop()
    shown = []
    for i, (old, new) in enumerate(parts):
        if old == new:
            shown.append(_shortened(old, context, i == 0, i == len(parts) - 1))
        else:
            shown.append((f"<del>{named(old)}</del>" if old else "") + (f"<ins>{named(new)}</ins>" if new else ""))
    return Html("".join(shown) + ("…" if any(goes_on) else ""))


def _edits(before: str, after: str) -> list[tuple[str, str]]:
    """Both texts cut alike: pieces that are equal, and pieces that took each other's place."""
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    counts, others = Counter(old), Counter(new)
    if sum(count * others[c] for c, count in counts.items()) > MOST_PAIRS:
        middle = [(old, new)]
    else:
        steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        middle = [(old[a:b], new[c:d]) for _, a, b, c, d in steps]
    tail = before[len(before) - end :]
    return [(before[:start], before[:start]), *middle, (tail, tail)]


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _together(parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Changes with less between them than they change themselves are one: people read words, not letters."""
    found: list[tuple[str, str]] = []
    for part in parts:
        if part == ("", ""):
            continue
        if len(found) > 1 and part[0] != part[1] and found[-1][0] == found[-1][1]:
            between, last = found[-1][0], found[-2]
            if len(between) < min(max(map(len, last)), max(map(len, part))):
                found[-2:] = [(last[0] + between + part[0], last[1] + between + part[1])]
                continue
        found.append(part)
    return found


def _shortened(text: str, context: int | None, first: bool, last: bool) -> str:
    """What stayed the same, only as much of it as lies beside a change."""
    before, after = (0 if first else context or 0), (0 if last else context or 0)
    if context is None or len(text) <= before + after + context // 2:
        return escape(text)
    return f'{escape(text[:before])}<span class="cut">⋯</span>{escape(text[len(text) - after :])}'


def named(text: str, but: str = "") -> Html:
    """Text with a sign for each character that nobody sees; `but` are characters to leave as they are."""
    return Html("".join(escape(c) if c in but else _sign(c) for c in text))


def _sign(c: str) -> str:
    if c in _SIGNS:
        return _SIGNS[c]
    if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"):
        return f"<code>U+{ord(c):04X}</code>"
    return escape(c)


_SIGNS = {" ": "␣", "\n": "⏎\n", "\t": "⇥", "\r": "<code>CR</code>"}

MARK = (
    '<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path d="M12 21V11" />'
    '<path d="M12 13C12 8 8 5 3 5c0 5 4 8 9 8Z" /><path d="M12 11c0-4 3-7 9-7 0 5-4 7-9 7Z" /></svg>'
)
"""A sprout: 牙 and 芽 sound the same."""

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
