"""report.html of a cleaning: the report comes in, one page for people goes out.

Counts first (what was read, what stayed, why the rest went), then the evidence (`page_evidence.py`): what was mended
and what each rule dropped, to be looked at, for a rule is only as good as what it throws away. The words are in
`page_words.py`, the look in `utils/page.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.clean.page_evidence import copies, dropped, mended
from pipeline.clean.page_words import COLOURS, KEPT, REASONS, UNREADABLE, amount, reason, records, said
from utils.charts import Stack, small_histogram, stacks
from utils.console import tell
from utils.page import Html, Section, clamped, escape, facts, folded, page, percent, table
from utils.stage import Json

OPEN_SOURCES, OPEN_ROWS = 12, 15
"""How many are shown at once; the others are folded."""


def page_of(report: Json) -> str:
    """The whole page."""
    sections = [
        _summary(report),
        _funnel(report),
        mended(report),
        dropped(report),
        _measures(report),
        copies(report),
        _quarantine(report),
        _asked(report),
        _files(report),
    ]
    title = tell("From raw text to clean records", "从原始文本到干净语料")
    return page(title, [section for section in sections if section], _lead(report))


def _lead(report: Json) -> str:
    read, kept, sources = report["read"], report["kept"], len(report["sources"])
    part = percent(kept, read)
    often = sorted(report["dropped"].items(), key=lambda item: -item[1])[:2]
    why = [(said(reason(rule).name), count) for rule, count in often]
    of_sources = tell(f"{sources} sources" if sources != 1 else "one source", f" {sources} 个来源")
    lead = tell(
        f"{records(read)} were read from {of_sources}, and {amount(kept)} of them stay: {part}.",
        f"从{of_sources}读入 {records(read)}记录，保留 {records(kept)}（{part}）。",
    )
    if why:
        reasons = tell(" and ", "和").join(
            tell(f"“{name}” ({amount(count)})", f"“{name}”（{records(count)}）") for name, count in why
        )
        lead += tell(f" Most often left out: {reasons}.", f"未留的多是{reasons}。")
    return lead


def _summary(report: Json) -> Section:
    read, dropped = report["read"], sum(report["dropped"].values())
    splits = {name: count for name, count in report["splits"].items() if count}
    held_out = [f"{name} {count:,}" for name, count in splits.items() if name != "train"]
    tiles = {
        tell("Read", "读入"): _tile(read, tell("records", "条记录")),
        tell("Kept", "保留"): _tile(report["kept"], percent(report["kept"], read)),
        tell("Dropped", "去除"): _tile(dropped, percent(dropped, read)),
        tell("Unreadable", "无法读取"): _tile(report["quarantined"], percent(report["quarantined"], read)),
        tell("To train on", "用于训练"): _tile(
            splits.get("train", 0), tell("held out: ", "另留出 ") + (" · ".join(held_out) or "0")
        ),
    }
    return Section(tell("In short", "概览"), [facts(tiles)])


def _tile(count: int, small: str) -> tuple[str, str]:
    shown = amount(count)
    return shown, small if shown == f"{count:,}" else f"{count:,} · {small}"


# ---------------------------------------------------------------- why


def _funnel(report: Json) -> Section:
    sources = _by_size(report["sources"])
    shown = [_stack(name, total) for name, total in sources]
    if len(shown) > 1:
        shown.insert(0, _stack(tell("all sources", "全部来源"), report))
    colours = {said(kind): css for kind, css in COLOURS.items()}
    title = tell("Why records went", "为什么去除")
    blocks: list[str] = [stacks(shown, colours)]
    if not report["rules"]:
        return Section(title, blocks, tell("No rule dropped anything.", "没有一条记录被规则去除。"))
    blocks.append(_rule_table(report))
    if len(sources) > 1:
        blocks.append(_matrix(sources, list(report["rules"])))
    quiet = [said(words.name) for rule, words in REASONS.items() if rule not in report["rules"]]
    if quiet:
        listed = tell("No hit, or not asked: ", "没有命中或未启用：") + tell(", ", "、").join(quiet)
        blocks.append(Html(f'<p class="note">{escape(listed)}</p>'))
    note = tell(
        "Rules are asked in the order of the table. “First” is what a rule was the first to drop, and the column adds "
        "up; “any” is all that it would drop; “alone” is what stays as soon as this rule is switched off.",
        "规则按表中次序逐条检查。“首先”是最先由它去除的，可以相加；“命中”是它会去除的全部；“独有”是只有它命中的，关掉这条规则就会留下。",
    )
    return Section(title, blocks, note)


def _by_size(sources: Mapping[str, Json]) -> list[tuple[str, Json]]:
    return sorted(sources.items(), key=lambda item: -item[1]["read"])


def _stack(name: str, total: Json) -> Stack:
    kinds = list(COLOURS)
    lost = sorted(total["dropped"].items(), key=lambda item: kinds.index(reason(item[0]).kind))
    parts = [(said(KEPT), total["kept"], said(KEPT))]
    parts += [(said(reason(rule).name), count, said(reason(rule).kind)) for rule, count in lost]
    parts.append((said(UNREADABLE), total["quarantined"], said(UNREADABLE)))
    kept = percent(total["kept"], total["read"])
    note = tell(f"{kept} of {amount(total['read'])}", f"{records(total['read'])}留 {kept}")
    return Stack(name, note, parts)


def _rule_table(report: Json) -> Html:
    head = [
        tell("rule", "规则"),
        tell("first", "首先"),
        tell("of read", "占读入"),
        tell("any", "命中"),
        tell("alone", "独有"),
    ]
    rows = [
        [_named(rule), hits["first"], percent(hits["first"], report["read"]), hits["any"], hits["sole"]]
        for rule, hits in report["rules"].items()
    ]
    return table(head, rows)


def _named(rule: str) -> Html:
    words = reason(rule)
    colour = COLOURS[words.kind]
    name = f'<b class="{colour}"><span>{escape(said(words.name))}</span></b>'
    return Html(f'<span class="term">{name} <code>{escape(rule)}</code><small>{escape(said(words.why))}</small></span>')


def _matrix(sources: Sequence[tuple[str, Json]], rules: Sequence[str]) -> Html:
    """Sources by rules; a cell's colour is the share of the source that the rule was the first to drop."""
    head = [tell("source", "来源"), *(said(reason(rule).name) for rule in rules)]
    rows = [[clamped(name), *(_cell(total, rule) for rule in rules)] for name, total in sources]
    caption = tell(
        "By source: dropped first, below it any / alone. The stronger the colour, the larger the share of the source.",
        "分来源：首先去除，下为 命中 / 独有。颜色越浓，占该来源的比例越大。",
    )
    return Html(f'<p class="note">{escape(caption)}</p><div class="matrix">{table(head, rows)}</div>')


def _cell(total: Json, rule: str) -> Html:
    hits = total["rules"].get(rule)
    if hits is None:
        return Html('<span class="heat none">·</span>')
    heat = (hits["first"] / total["read"]) ** 0.5 if total["read"] else 0
    first, each, sole = (hits[name] for name in ("first", "any", "sole"))
    exact = f"{first:,} · {each:,} / {sole:,}"
    return Html(
        f'<span class="heat" style="--heat:{60 * heat:.0f}%" title="{exact}">{amount(first)}'
        f"<small>{amount(each)} / {amount(sole)}</small></span>"
    )


# ---------------------------------------------------------------- measures and places


def _measures(report: Json) -> Section | None:
    edges, by_source = report["histograms"]["edges"], report["histograms"]["sources"]
    order = [name for name, _ in _by_size(report["sources"]) if name in by_source]
    if not order:
        return None
    rows = [_distribution(name, by_source[name], edges) for name in order]
    blocks: list[str] = [Html(_heads() + "".join(rows[:OPEN_SOURCES]))]
    if rest := rows[OPEN_SOURCES:]:
        blocks.append(folded(tell(f"{len(rest)} more sources", f"另外 {len(rest)} 个来源"), Html("".join(rest))))
    note = tell(
        "Grey is what was read, green in front of it what stayed. Every chart has its own height.",
        "灰色是读入的，前面的绿色是留下的。每幅图的高度各自独立。",
    )
    return Section(tell("Lengths and Chinese", "长度与汉字比例"), blocks, note)


def _heads() -> str:
    heads = "", tell("characters", "字数"), tell("Han characters among letters", "汉字占文字的比例")
    return f'<div class="spread heads">{"".join(f"<span>{head}</span>" for head in heads)}</div>'


def _distribution(name: str, measures: Json, edges: Json) -> str:
    names = tell("read", "读入"), tell("kept", "保留")
    lengths = [_thousands(edge) for edge in edges["chars"]]
    shares = [f"{edge:.0%}" for edge in edges["han"]]
    chars, han = measures["chars"], measures["han"]
    left = small_histogram(lengths, chars["read"], chars["kept"], names, ("10", "100", "1k", "10k", "100k"))
    right = small_histogram(shares, han["read"], han["kept"], names, ("0%", "50%", "100%"))
    return f'<div class="spread"><b>{clamped(name)}</b>{left}{right}</div>'


def _thousands(edge: float) -> str:
    return f"{edge / 1000:g}k" if edge >= 1000 else f"{edge:g}"


def _quarantine(report: Json) -> Section | None:
    rows = [[_place(line), line["reason"], _code(line["bytes"])] for line in report["quarantine"] if line]
    if not rows:
        return None
    head = [tell("where", "位置"), tell("why", "原因"), tell("how it begins", "开头")]
    note = tell(
        "The first ones; all of them are in quarantine.jsonl.", "这里是最先遇到的几条；全部在 quarantine.jsonl 里。"
    )
    return Section(tell("What nobody could read", "无法读取的"), _opened(head, rows, "mono"), note)


def _opened(head: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> list[str]:
    """A table whose first rows are seen at once."""
    blocks: list[str] = [Html(f'<div class="{kind}">{table(head, rows[:OPEN_ROWS])}</div>')]
    if rest := rows[OPEN_ROWS:]:
        below = Html(f'<div class="{kind}">{table(head, rest)}</div>')
        blocks.append(folded(tell(f"{len(rest):,} more", f"另外 {len(rest):,} 行"), below))
    return blocks


def _place(line: Json) -> Html:
    at = [] if line["offset"] is None else [tell(f"byte {line['offset']:,}", f"第 {line['offset']:,} 字节")]
    at.append(tell(f"record {line['ordinal']:,}", f"第 {line['ordinal']:,} 条"))
    return Html(f'<span class="term">{escape(line["file"])}<small>{escape(" · ".join(at))}</small></span>')


def _code(text: str) -> Html:
    return Html(f"<code>{escape(text)}</code>")


def _asked(report: Json) -> Section:
    """Which rules were in force where; whatever is not named was off."""
    rows = []
    for name, total in report["sources"].items():
        rules = [f"{rule} {value}" for rule, value in total["thresholds"].items()]
        rows.append([name, Html("  ·  ".join(f"<code>{escape(rule)}</code>" for rule in rules))])
    note = tell("What is not named here was off.", "这里没有列出的，都没有启用。")
    return Section(
        tell("Rules in force", "启用的规则"), _opened([tell("source", "来源"), tell("rules", "规则")], rows), note
    )


def _files(report: Json) -> Section:
    rows = [
        [file["file"], name, file["reader"], file["read"]]
        for name, total in report["sources"].items()
        for file in total["files"]
    ]
    head = [tell("file", "文件"), tell("source", "来源"), tell("reader", "读取器"), tell("records", "记录")]
    blocks = _opened(head, rows, "files")
    if shards := report.get("shards"):
        listed = Html(f'<p class="listed">{escape("  ".join(shards))}</p>')
        blocks.append(folded(tell(f"Written: {len(shards):,} shards", f"写出 {len(shards):,} 个分片"), listed))
    return Section(tell("Files", "文件"), blocks)
