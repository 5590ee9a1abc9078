"""The page's samples: what was mended, what each rule dropped, what was taken for a copy. Differences are marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.clean.page_words import counted, measured, mend_words, reason, said
from pipeline.clean.text.ledger import COUNTS, Ledger, Loss
from pipeline.clean.text.repair import REPAIRS
from pipeline.clean.text.rule import Rule
from pipeline.clean.text.rules import PROFILES, rules_for
from utils.console import tell
from utils.page import Excerpt, Html, Section, changes, escape, excerpts, folded, table
from utils.stage import Json

LONGEST = 1_200
"""Characters of one excerpt; whoever wrote the report mostly kept it shorter."""
CONTEXT = 24
"""Characters shown beside the change of a near copy."""
OPEN_CLUSTERS = 6
"""Groups shown at once; the others are folded."""


# ---------------------------------------------------------------- mended


def mended(report: Json) -> Section | None:
    """What mending changed, and what it must not have lost."""
    notes = report.get("mended", {})
    entries = {name: notes[name] for name in [*known_mends(), *notes] if name in notes}
    if not entries:
        return None
    listed = _list([_mended_samples(name, entry) for name, entry in entries.items()])
    touched = [name for name, entry in entries.items() if any(count in entry for count in COUNTS)]
    losses = Ledger.from_json(notes).harm(known_mends().values())
    blocks = [listed, _verdict(losses), *([_ledger(entries, touched)] if touched else [])]
    note = tell(
        "How many texts each rule changed, and some of them. The table counts, in the texts that a rule changed, what "
        "a careless one would break: decimals, addresses and words should not get fewer, lone brackets not more.",
        "每条规则改动了多少文本，以及其中的样本。下表统计被改动的文本里最容易弄坏的东西：小数、网址和单词不该变少，落单的括号不该变多。",
    )
    return Section(tell("What was mended", "修补了什么"), blocks, note)


def known_mends() -> dict[str, Rule]:
    """Every mending rule there is, by name, in the order of the fullest profile."""
    repairs = tuple(REPAIRS)
    return {rule.name: rule for profile in PROFILES for rule in rules_for(profile, repairs=repairs)}


def _verdict(losses: Sequence[Loss]) -> Html:
    if not losses:
        text = tell("Nothing was lost that should have stayed.", "该保留的一样没少。")
        return Html(f'<p class="verdict"><span class="yes">✓</span>{text}</p>')
    named = tell("; ", "；").join(
        tell(
            f"{said(mend_words(rule)[0])}: {counted(count).lower()} in {texts:,} of its texts",
            f"“{said(mend_words(rule)[0])}”使 {texts:,} 篇文本的{counted(count)}变差",
        )
        for rule, count, texts in losses
    )
    text = escape(tell(f"Look at these rules; they did harm. {named}.", f"请检查这些规则，它们造成了损失：{named}。"))
    return Html(f'<p class="verdict"><span class="no">✗</span>{text}</p>')


def _ledger(entries: dict[str, Json], touched: Sequence[str]) -> Html:
    head = [tell("before → after", "改动前 → 改动后"), *(counted(count) for count in COUNTS)]
    rows = [
        [said(mend_words(name)[0]), *(_before_after(name, count, entries[name].get(count)) for count in COUNTS)]
        for name in touched
    ]
    return Html(f'<div class="ledger">{table(head, rows)}</div>')


def _before_after(rule: str, count: str, row: Sequence[int] | None) -> Html:
    """Before and after, and a mark: nothing lost, lost as it should be, or lost."""
    if row is None:
        return Html('<span class="none">·</span>')
    before, after, worse = row
    figures = f"{before:,}" if before == after else f"{before:,} → {after:,}"
    if not worse:
        return Html(f'{figures} <span class="yes">✓</span>')
    if count in known_mends()[rule].harms:
        return Html(f"{figures} <small>{tell('as meant', '本意如此')}</small>")
    return Html(f'{figures} <span class="no">✗</span><small>{tell(f"{worse:,} texts", f"{worse:,} 篇")}</small>')


def _mended_samples(name: str, entry: Json) -> Html:
    title, does = mend_words(name)
    known = known_mends()
    is_secret = name in known and known[name].secret
    shown = [
        Excerpt(_difference(_clipped(before), _clipped(_hidden(after) if is_secret else after)))
        for _, before, after in entry["samples"]
    ]
    return folded(_entry(said(title), said(does), entry["texts"]), excerpts(shown))


def _hidden(text: str) -> str:
    """As the notes hide what such a text was before, so that only the mend differs."""
    return re.sub("[0-9A-Za-z]", "*", text)


# ---------------------------------------------------------------- dropped


def dropped(report: Json) -> Section | None:
    """Of each rule some records that it was the first to drop."""
    blocks = []
    for rule, hits in report["rules"].items():
        shown = [
            Excerpt(_clipped(one["text"]), (measured(rule, one["value"]), one["source"]))
            for one in report["samples"].get(rule, [])
        ]
        if shown:
            summary = _entry(said(reason(rule).name), said(reason(rule).why), hits["first"])
            blocks.append(folded(summary, excerpts(shown)))
    note = tell(
        "Drawn by hash, not picked. If you would have kept them, the rule is too strict for this corpus.",
        "样本按哈希抽取，未经挑选。如果您觉得它们该留下，说明规则对这份语料太严了。",
    )
    return Section(tell("What was dropped", "去除了什么"), [_list(blocks)], note) if blocks else None


def _list(entries: Sequence[Html]) -> Html:
    return Html(f'<div class="list">{"".join(entries)}</div>')


def _entry(name: str, why: str, count: int) -> Html:
    return Html(f'<span class="entry"><b>{escape(name)}</b><small>{escape(why)}</small><span>{count:,}</span></span>')


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# ---------------------------------------------------------------- near copies


def copies(report: Json) -> Section | None:
    """Groups of near copies: what stayed, and how what went differs from it."""
    shown = [_cluster(one) for one in report["clusters"]]
    if not shown:
        return None
    blocks: list[str] = [Html("".join(shown[:OPEN_CLUSTERS]))]
    if rest := shown[OPEN_CLUSTERS:]:
        blocks.append(folded(tell(f"{len(rest)} more groups", f"另外 {len(rest)} 组"), Html("".join(rest))))
    note = tell(
        "Of each group one record stays. Below it some of those that went: what they lack is struck out, what they "
        "have instead is marked.",
        "每组只留一条。下面是被去除的几条：划去的是它们没有的，标出的是它们另有的。",
    )
    return Section(tell("Near copies", "近似重复"), blocks, note)


def _cluster(one: Json) -> Html:
    stays = _clipped(one["stays"])
    size = tell(f"{one['size']:,} alike", f"共 {one['size']:,} 条")
    gone = [Excerpt(_difference(stays, _clipped(text), CONTEXT), (tell("gone", "去除"),)) for text in one["gone"]]
    return Html(
        f'<div class="cluster">{excerpts([Excerpt(stays, (tell("stays", "留下"), one["source"], size))])}'
        f"{excerpts(gone)}</div>"
    )


def _difference(before: str, after: str, context: int | None = None) -> str:
    if before == after:
        return tell("The same as far as it is shown here.", "所示部分完全相同。")
    return changes(before, after, context, unfinished=True)
