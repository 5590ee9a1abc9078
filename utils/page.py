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
from typing import Any

from utils.console import is_chinese, tell, well_formed


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
    return isinstance(cell, str) and not isinstance(cell, Html) and cell[:1].isdigit() and cell.endswith(("%", "×"))


def _cell(cell: object) -> object:
    return "–" if cell is None else cell if isinstance(cell, Html) else number(cell)


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
    said = f"<p>{escape(answer.said)}</p>" if answer.said.strip() else f'<p class="none">{tell("(nothing)", "（无）")}</p>'
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

STYLE = """
:root{--paper:#fbfaf7;--card:#fff;--ink:#26302c;--soft:#66726c;--line:#e4e2da;--grid:#eeece5;--leaf:#2f7d5b;
--yes:#2f7d5b;--no:#b4533c;--tint:#f1f5f0;
--c0:#2f7d5b;--c1:#c2703d;--c2:#47729e;--c3:#8a5a92;--c4:#a08a2c;--c5:#5b8f8f}
@media (prefers-color-scheme:dark){:root{--paper:#161a18;--card:#1d2320;--ink:#dfe5e1;--soft:#93a099;--line:#2e3733;
--grid:#262e2a;--leaf:#74c69d;--yes:#74c69d;--no:#e08a70;--tint:#212925;
--c0:#74c69d;--c1:#e0a071;--c2:#86aedb;--c3:#c598cd;--c4:#d3bf66;--c5:#8fc4c4}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#111;--soft:#555;--line:#ccc;--grid:#e8e8e8;--leaf:#1f6b4a;
--yes:#1f6b4a;--no:#a2412b;--tint:#f5f5f5;
--c0:#1f6b4a;--c1:#a85a2a;--c2:#345d87;--c3:#74457c;--c4:#85711c;--c5:#447777}}
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{max-width:54rem;margin:0 auto;padding:2.5rem 1.25rem 5rem;line-height:1.7;font-size:1rem;
font-family:system-ui,-apple-system,"Segoe UI","PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC",sans-serif}
h1,h2{font-family:Georgia,"Songti SC","Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;font-weight:600;line-height:1.3}
h1{font-size:2.1rem;margin:.3rem 0 .4rem}
h2{font-size:1.35rem;margin:3.2rem 0 .5rem;padding-top:.2rem}
.brand{display:flex;align-items:center;gap:.45rem;margin:0;color:var(--leaf);font-size:.95rem;letter-spacing:.08em}
.brand svg{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
.lead{color:var(--soft);font-size:1.06rem;margin:0 0 1rem;max-width:44rem}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;border-block:1px solid var(--line);padding:.55rem 0;margin-top:1.4rem;font-size:.92rem}
a{color:var(--leaf);text-decoration:none}a:hover{text-decoration:underline}
.note{color:var(--soft);margin:.1rem 0 1rem;max-width:44rem;font-size:.95rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0}
.facts div{background:var(--card);border:1px solid var(--line);border-radius:.7rem;padding:.8rem 1rem .85rem}
.facts dt{color:var(--soft);font-size:.86rem}
.facts dd{margin:.1rem 0 0;font-size:1.5rem;line-height:1.35;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts small{display:block;color:var(--soft);font-size:.8rem;line-height:1.45;margin-top:.15rem}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-size:.94rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.9rem;padding-bottom:.4rem}
th{font-weight:500;color:var(--soft);text-align:left;font-size:.86rem;border-bottom:1.5px solid var(--line);padding:.35rem .8rem .35rem 0}
td{border-bottom:1px solid var(--line);padding:.42rem .8rem .42rem 0;vertical-align:top}
tbody tr:last-child td{border-bottom:0}
th.n,td.n{text-align:right;white-space:nowrap;padding:.42rem 0 .42rem 1.1rem}
td.n+td:not(.n){padding-left:1.2rem}
.meter{display:inline-block;position:relative;width:100%;min-width:7rem;height:.5rem;border-radius:.25rem;background:var(--grid);vertical-align:middle}
.meter i{display:block;height:100%;border-radius:.25rem;background:var(--c0);opacity:.85}
.meter b{position:absolute;top:-.2rem;height:.9rem;border-inline:1.5px solid var(--ink);opacity:.45}
.qa article{border-left:2px solid var(--line);padding:.1rem 0 .1rem 1rem;margin:1.1rem 0;break-inside:avoid}
.qa h3{font-size:1rem;font-weight:600;margin:0 0 .15rem}
.qa h3 small{font-weight:400;color:var(--soft);background:var(--tint);border-radius:1rem;padding:.1rem .6rem;margin-left:.6rem;font-size:.78rem;white-space:nowrap}
.qa p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.qa h4{margin:0;color:var(--soft);font-size:.8rem;font-weight:400}
.yes,.no{display:inline-block;width:1.35em;font-weight:700}.yes{color:var(--yes)}.no{color:var(--no)}
.none{color:var(--soft)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.2rem 1.5rem}
details{margin:1rem 0}summary{cursor:pointer;color:var(--leaf)}
figure{margin:1.2rem 0;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.88rem;color:var(--soft);margin-bottom:.3rem}
figcaption b{font-weight:500;color:var(--ink);margin-right:auto}
.key::before{content:"";display:inline-block;width:1rem;height:.22rem;border-radius:.1rem;background:currentColor;margin-right:.4rem;vertical-align:middle}
.key span{color:var(--soft)}
svg.chart{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12.5px;fill:var(--soft);font-family:inherit;font-variant-numeric:tabular-nums}
.axis{stroke:var(--line)}.grid{stroke:var(--grid)}
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.faint{fill:none;stroke:currentColor;stroke-width:1;opacity:.28;stroke-linejoin:round}
.bar{fill:currentColor;opacity:.8}.bar:hover{opacity:1}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}
.hit rect{fill:transparent}.hit .show{opacity:0}.hit:hover .show{opacity:1}
.hit line{stroke:var(--soft);stroke-dasharray:2 3}.hit circle{fill:currentColor;stroke:var(--paper);stroke-width:1.5}
.hit text{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px}
.bars{display:grid;grid-template-columns:minmax(4rem,max-content) 1fr max-content;gap:.35rem .9rem;align-items:center;font-size:.92rem;margin:1rem 0}
.bars i{display:block;height:.85rem;min-width:1px;border-radius:0 .25rem .25rem 0;background:var(--c0);opacity:.8}
.bars span:nth-child(3n){text-align:right;font-variant-numeric:tabular-nums;color:var(--soft)}
@media (max-width:36rem){body{padding:1.5rem 1rem 3rem}h1{font-size:1.7rem}.pair{grid-template-columns:1fr;gap:.5rem}
.facts{grid-template-columns:1fr 1fr}.facts dd{font-size:1.25rem}svg text{font-size:21px}.line{stroke-width:3.2}}
@media print{body{max-width:none;padding:0;font-size:10.5pt}nav{display:none}h2{break-after:avoid;margin-top:1.6rem}.facts div{border-radius:0}}
"""
