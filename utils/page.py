"""The look of every report: pieces of content come in, one self-contained HTML page goes out.

No outside asset and no script: style, charts (`utils/charts.py`, inline SVG with the browser's own text, so that
Chinese shows everywhere) and content are in the one file, which may be mailed, printed, or opened without a
network. Light or dark follows the reader's system. Everything is escaped but `Html`, which only the functions
here and in `utils/charts.py` make.

    page("A report", [Section("Scores", [facts({"exact": "99 %"}), table(["name", "share"], rows)])])
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.console import is_chinese, tell, well_formed

NOTHING = "–"
"""Stands in a table where there is no value."""


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


def page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """The whole document; `lead` is the sentence under the headline."""
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
<title>{escape(title)}</title>
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
        float(cell.rstrip(" %×").replace(",", ""))
    except ValueError:
        return cell == NOTHING
    return True


def _cell(cell: object) -> object:
    return NOTHING if cell is None else cell if isinstance(cell, Html) else number(cell)


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
    said = (
        f"<p>{escape(answer.said)}</p>" if answer.said.strip() else f'<p class="none">{tell("(nothing)", "（无）")}</p>'
    )
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


MARK = (
    '<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path d="M12 21V11" />'
    '<path d="M12 13C12 8 8 5 3 5c0 5 4 8 9 8Z" /><path d="M12 11c0-4 3-7 9-7 0 5-4 7-9 7Z" /></svg>'
)
"""A sprout: 牙 and 芽 sound the same."""

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
