"""report.html of a tokenizer: its figures and its vocabulary come in, one page for people goes out.

First how much text a token holds, beside GPT-2 and whatever else was asked for; then real texts in their tokens; then
what the vocabulary is made of, down to the last piece (`page_pieces.py`). The look is in `utils/page.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.tokenizer.measure import BYTES, DIGITS, HAN, LATIN, MARKS, MIXED, OTHER, SIGNS, SPACES
from pipeline.tokenizer.measured import OURS
from pipeline.tokenizer.page_pieces import Vocabulary, chips, cut, listing
from pipeline.tokenizer.page_words import encoder_name, kind_name, language_name
from utils.charts import Stack, curves, stacks
from utils.console import amount, tell
from utils.page import Html, Section, clamped, facts, folded, page, paragraph, percent, table
from utils.stage import Json

OPEN_SOURCES = 12
LITTLE = 50_000
"""Bytes of text that are too few for exact figures."""

COLOURS = {HAN: "c0", LATIN: "c2", OTHER: "c5", MIXED: "c3", DIGITS: "c4", SIGNS: "c1", SPACES: "c1"}
COLOURS |= {BYTES: "c7", MARKS: "c6"}


def page_of(report: Json, vocabulary: Vocabulary) -> str:
    """The whole page."""
    sections = [
        _summary(report),
        _fit(report),
        _fertility(report["fertility"]),
        _samples(report["samples"]),
        _composition(report),
        _longest(report["longest"]),
        _unused(report),
        _coverage(report["coverage"]),
        _whole(vocabulary, report),
    ]
    return page(tell("A vocabulary", "词表报告"), [section for section in sections if section], _lead(report))


def told(report: Json) -> list[str]:
    """Languages worth a line: Chinese and English if there are any, else what there is."""
    there = list(report["measured"]["languages"])
    return [name for name in there if name != "other"] or there


def _lead(report: Json) -> str:
    size = report["vocab_size"]
    fits = [
        tell(
            f"{row['characters_per_token']:.2f} characters of {language_name(name)}",
            f"{language_name(name)} {row['characters_per_token']:.2f} 个字符",
        )
        for name, row in report["fit"][OURS]["languages"].items()
        if name in told(report)
    ]
    held = tell(" or ", "，")
    lead = tell(f"{size:,} pieces, {origin(report)}.", f"共 {size:,} 个词元，{origin(report)}。")
    return lead + (tell(f" A token holds {held.join(fits)}.", f"一个词元平均容纳{held.join(fits)}。") if fits else "")


def origin(report: Json) -> str:
    """Where the vocabulary is from."""
    if "taken" in report:
        return tell(f"taken from {report['taken']}", f"取自 {report['taken']}")
    sampled = amount(report["sampled_bytes"])
    return tell(f"learned from {sampled} of text", f"从 {sampled} 文本中学得")


def _asked(report: Json) -> str:
    if "taken" in report:
        return origin(report)
    return tell(f"asked for {report['asked']:,}", f"要求 {report['asked']:,}")


def _summary(report: Json) -> Section:
    fit, others = report["fit"], [name for name in report["fit"] if name != OURS]
    tiles: dict[str, Any] = {
        tell("Pieces", "词元"): (report["vocab_size"], _asked(report)),
    }
    for name in told(report):
        row = fit[OURS]["languages"][name]
        beside = " · ".join(f"{other} {fit[other]['languages'][name]['characters_per_token']:.2f}" for other in others)
        unit = tell("characters a token", "字符 / 词元")
        tiles[language_name(name)] = f"{row['characters_per_token']:.2f}", unit + tell("; ", "；") + beside
    total = fit[OURS]["all"]["all"]
    tiles[tell("Spelled in bytes", "按字节拼写")] = (
        percent(total["spelled_characters"]),
        tell("of the characters", "的字符"),
    )
    unused = report["unused"]
    tiles[tell("Never needed", "从未用到")] = (
        unused["pieces"],
        tell(f"of {unused['of']:,} pieces", f"共 {unused['of']:,} 个词元"),
    )
    return Section(tell("In short", "概览"), [facts(tiles)])


# ---------------------------------------------------------------- how it fits


def _fit(report: Json) -> Section:
    fit, measured = report["fit"], report["measured"]
    names = list(fit)
    head = [
        tell("language", "语言"),
        tell("tokenizer", "分词器"),
        tell("tokens", "词元数"),
        tell("characters a token", "字符 / 词元"),
        tell("bytes a token", "字节 / 词元"),
        tell("spelled in bytes", "按字节拼写"),
    ]
    some_unknown = any(row["unknown"] for one in fit.values() for row in one["all"].values())
    if some_unknown:
        head.append(tell("unknown", "未知"))
    rows: list[list[Any]] = []
    for by in ("languages", "all"):
        for group in measured[by]:
            for name in names:
                row = fit[name][by][group]
                cells = [row["tokens"], f"{row['characters_per_token']:.2f}", f"{row['bytes_per_token']:.2f}"]
                cells += [percent(row["spelled_characters"])] + [row["unknown"]] * some_unknown
                rows.append([language_name(group) if name == names[0] else "", _in_cell(encoder_name(name)), *cells])
    blocks: list[str] = [table(head, rows)]
    blocks += _by_source(report, "characters_per_token", tell("Characters a token, by source", "各来源：字符 / 词元"))
    blocks += _by_source(report, "bytes_per_token", tell("Bytes a token, by source", "各来源：字节 / 词元"))
    return Section(tell("How much text a token holds", "一个词元容纳多少文字"), blocks, _measured_on(report))


def _by_source(report: Json, figure: str, caption: str) -> list[str]:
    fit, measured = report["fit"], report["measured"]["sources"]
    head = [tell("source", "来源"), tell("characters", "字数"), *map(encoder_name, fit)]
    rows = [
        [
            _in_cell(_source(report, name)),
            size["characters"],
            *(f"{one['sources'][name][figure]:.2f}" for one in fit.values()),
        ]
        for name, size in measured.items()
    ]
    blocks: list[str] = [table(head, rows[:OPEN_SOURCES], caption)]
    if rest := rows[OPEN_SOURCES:]:
        blocks.append(folded(tell(f"{len(rest)} more sources", f"另外 {len(rest)} 个来源"), table(head, rest)))
    return blocks


def _in_cell(name: str) -> str:
    return clamped(name) if len(name) > 20 else name


def _source(report: Json, name: str) -> str:
    all_alike = len(set(report["held_out"].values())) == 1
    return name if all_alike or report["held_out"][name] else name + tell(" (trained on)", "（训练用）")


def _measured_on(report: Json) -> str:
    held_out = set(report["held_out"].values())
    measured = report["measured"]["all"]["all"]["bytes"]
    size = amount(measured)
    if held_out == {True}:
        text = tell(
            f"Measured on {size} of held-out text, which taught it nothing.",
            f"在 {size} 留出文本上测得，词表没有从中学过。",
        )
    elif True in held_out:
        text = tell(
            f"Measured on {size} of held-out text, which taught it nothing; a source or a language without any, on the "
            "beginning of what is trained on.",
            f"在 {size} 留出文本上测得，词表没有从中学过；没有留出文本的来源或语言，取训练文本的开头。",
        )
    else:
        text = tell(
            f"Nothing is held out: measured on {size} of what is trained on, which flatters it.",
            f"没有留出文本：在 {size} 训练文本的开头上测得，结果会偏乐观。",
        )
    if measured < LITTLE:
        text += tell(" That is little: the figures are rough.", "文本很少，数字仅供参考。")
    return text + tell(
        " A language is told by the letters of a passage. “Spelled in bytes”: characters that take several tokens.",
        "语言按段落中的文字判断；“按字节拼写”指一个字符要用好几个词元的情形。",
    )


def _fertility(found: Json) -> Section | None:
    if not found:
        return None
    titles = {
        "zh": tell("Chinese: tokens a character", "中文：每字词元数"),
        "en": tell("English: tokens a word", "英文：每词词元数"),
    }
    blocks = []
    for language, one in found.items():
        last = max(len(values) for values in one["quantiles"].values()) - 1
        series = {
            encoder_name(name): [(100 * i / last, value) for i, value in enumerate(values)]
            for name, values in one["quantiles"].items()
        }
        count = tell(f" ({one['passages']:,} passages)", f"（{one['passages']:,} 个段落）")
        blocks.append(curves(series, titles[language] + count, tell("% of the passages", "段落占比 %")))
    note = tell(
        "Each line has the passages in order, from the one that needs the fewest tokens to the one that needs the "
        "most: at 50 is the one in the middle. Lower is better.",
        "每条线把段落按所需词元从少到多排开，50 处是居中的一段。越低越好。",
    )
    return Section(tell("Fertility", "切分密度"), blocks, note)


def _samples(samples: Sequence[Json]) -> Section | None:
    if not samples:
        return None
    note = tell(
        "The colours only part one token from the next. A raised figure: so many tokens spell this character.",
        "颜色只用来分开相邻的词元。右上角的数字：这个字符用了几个词元才拼出来。",
    )
    return Section(tell("Texts in tokens", "文本切成词元"), [cut(samples, encoder_name)], note)


# ---------------------------------------------------------------- what it is made of


def _composition(report: Json) -> Section:
    shown = []
    for name, kinds in report["composition"].items():
        parts = [(kind_name(kind), row["pieces"], kind_name(kind)) for kind, row in kinds.items()]
        shown.append(Stack(encoder_name(name), f"{sum(row['pieces'] for row in kinds.values()):,}", parts))
    mine = report["composition"][OURS]
    rows = [[kind_name(kind), row["pieces"], row["single"]] for kind, row in mine.items()]
    head = [tell("kind", "类别"), tell("pieces", "词元"), tell("single characters", "其中单字符")]
    colours = {kind_name(kind): css for kind, css in COLOURS.items()}
    note = tell(
        "Mixed: letters of several scripts, or letters with signs. Bytes: parts of characters.",
        "混合：含多种文字，或文字连着标点。字节：字符的一部分。",
    )
    return Section(tell("What it is made of", "词表的构成"), [stacks(shown, colours), table(head, rows)], note)


def _longest(found: Mapping[str, Sequence[Json]]) -> Section | None:
    blocks: list[str] = []
    for kind, rows in found.items():
        title = kind_name(kind) if kind != MIXED else tell("mixed and other scripts", "混合与其他文字")
        blocks += [Html(f"<h3>{title}</h3>"), chips((row["piece"], row["count"]) for row in rows)]
    note = tell("With each, how often the measured text needs it.", "数字是它在所测文本里用到的次数。")
    return Section(tell("The longest pieces", "最长的词元"), blocks, note) if blocks else None


def _unused(report: Json) -> Section:
    unused, size = report["unused"], amount(report["counted_bytes"])
    text = tell(
        f"{unused['pieces']:,} of {unused['of']:,} pieces are never needed in {size} of text: they are rare, or steps "
        "on the way to longer ones.",
        f"在 {size} 文本中，{unused['of']:,} 个词元里有 {unused['pieces']:,} 个从未用到：或是少见，"
        "或是通往更长词元的中间步骤。",
    )
    blocks: list[str] = [paragraph(text)]
    if unused["examples"]:
        shown = chips((row["piece"], None) for row in unused["examples"])
        blocks.append(shown)
    return Section(tell("Pieces never needed", "从未用到的词元"), blocks)


def _coverage(found: Json) -> Section:
    lost = found["characters"] - found["with_a_piece"]
    text = tell(
        f"The text has {found['characters']:,} different characters; {found['with_a_piece']:,} have a piece of their "
        f"own, which is {percent(found['share'])} of what is written. The other {lost:,} are spelled in bytes, unless "
        "a longer piece holds them.",
        f"文本共有 {found['characters']:,} 种字符，其中 {found['with_a_piece']:,} 种有自己的词元，占全部文字的 "
        f"{percent(found['share'])}；其余 {lost:,} 种除非包含在更长的词元里，否则按字节拼写。",
    )
    blocks: list[str] = [paragraph(text)]
    if found["missing"]:
        blocks.append(chips((row["character"], row["count"]) for row in found["missing"]))
    return Section(tell("Characters without a piece", "没有词元的字符"), blocks)


def _whole(vocabulary: Vocabulary, report: Json) -> Section:
    note = tell(
        "Every piece behind its id; pale: never needed in the measured text. ␣ is a space, ⏎ a line end.",
        "每个词元前是它的编号；颜色浅的在所测文本里从未用到。␣ 是空格，⏎ 是换行。",
    )
    return Section(tell("The whole vocabulary", "完整词表"), listing(vocabulary, report["ranked_from"]), note)
