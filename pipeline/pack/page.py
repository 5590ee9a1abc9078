"""report.html of a pack: the report and its shards come in, one page for people goes out.

How much there is of what, how long the documents are beside common `seq_len`s, what was left out and why, and three
dialogues with what is trained marked.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.pack.show import Piece, pieces, shortened
from pipeline.pack.validate import in_words
from utils.charts import bars
from utils.codec import Codec
from utils.console import tell
from utils.page import Html, Section, clamped, escape, facts, page, table
from utils.shards import Shard
from utils.stage import Json

SHOWN = 3
LONG = 1200
"""Characters of a piece of a dialogue."""
ASKED = (512, 1024, 2048)
"""Lengths of a row that people train with."""


def page_of(report: Json, folder: Path, codec: Codec) -> str:
    """The whole page; `folder` holds the shards."""
    sections = [_amounts(report), _lengths(report), _left_out(report), _dialogues(folder, codec)]
    title = tell("From clean records to tokens", "从干净语料到词元")
    return page(title, [section for section in sections if section])


def counted(verb: str, documents: int) -> str:
    """So many documents of a verb; what finetune reads are dialogues."""
    return tell(f"{documents:,} documents", f"{documents:,} {'段对话' if verb == 'finetune' else '篇'}")


def _amounts(report: Json) -> Section:
    tiles, rows = {}, []
    for verb in ("pretrain", "finetune"):
        for split, sources in report[verb].items():
            for source, counts in sources.items():
                share = f"{counts['trained'] / max(counts['tokens'], 1):.1%}"
                density = f"{counts['bytes'] / max(counts['tokens'], 1):.2f}"
                rows.append([verb, split, clamped(source), counts["documents"], counts["tokens"], share, density])
        train = report[verb].get("train", {}).values()
        if train:
            documents, tokens, trained = (sum(s[name] for s in train) for name in ("documents", "tokens", "trained"))
            share = f"{trained / max(tokens, 1):.0%}"
            small = counted(verb, documents) + tell(f", {share} trained", f"，{share} 的词元参与训练")
            tiles[tell(f"{verb}: tokens", f"{verb}：词元")] = (tokens, small)
    head = [
        tell("for", "用于"),
        tell("split", "划分"),
        tell("source", "来源"),
        tell("documents", "数量"),
        tell("tokens", "词元"),
        tell("trained", "参与训练"),
        tell("bytes a token", "字节 / 词元"),
    ]
    return Section(tell("How much there is", "有多少"), [facts(tiles), table(head, rows)])


def _lengths(report: Json) -> Section:
    edges = report["lengths"]["edges"]
    blocks: list[str] = []
    for verb in ("pretrain", "finetune"):
        by_source = report["lengths"][verb]
        if not by_source:
            continue
        counts = np.sum(list(by_source.values()), 0).tolist()
        names = [
            f"≤ {edges[0]:,}",
            *(f"{a + 1:,}–{b:,}" for a, b in pairwise(edges)),
            f"> {edges[-1]:,}",
        ]
        chinese = "对话数" if verb == "finetune" else "篇数"
        title = tell(f"{verb}: documents by their tokens", f"{verb}：按词元数统计的{chinese}")
        blocks.append(bars(dict(zip(names, counts, strict=True)), title))
        rows = [[clamped(name), *(_longer(some, edges, asked) for asked in ASKED)] for name, some in by_source.items()]
        if len(rows) > 1:
            rows.insert(0, [tell("all sources", "全部来源"), *(_longer(counts, edges, asked) for asked in ASKED)])
        head = [tell("longer than", "长于"), *(f"{asked:,}" for asked in ASKED)]
        blocks.append(table(head, rows))
    note = tell(
        "Of the train split. Finetune cuts a dialogue longer than seq_len between its turns; pretrain loses nothing.",
        "仅统计 train。微调时，长于 seq_len 的对话会在轮次之间切开；预训练不丢任何词元。",
    )
    return Section(tell("How long they are", "有多长"), blocks, note)


def _longer(counts: list[int], edges: list[int], asked: int) -> str:
    return f"{sum(counts[edges.index(asked) + 1 :]) / max(sum(counts), 1):.1%}"


def _left_out(report: Json) -> Section:
    rows = []
    for split, sources in report["left_out"].items():
        for source, reasons in sources.items():
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                why = escape(in_words(reason))
                name = Html(f'<span class="term"><code>{escape(reason)}</code><small>{why}</small></span>')
                rows.append([name, clamped(source), split, count])
    title = tell("What was left out", "已略去的记录")
    if not rows:
        nothing = tell("Nothing: every clean record is in the shards.", "无：清洗后的每条记录都已写入分片。")
        return Section(title, [], nothing)
    head = [tell("why", "原因"), tell("source", "来源"), tell("split", "划分"), tell("records", "记录")]
    return Section(title, [table(head, rows)])


def _dialogues(folder: Path, codec: Codec) -> Section | None:
    by_source: dict[str, Path] = {}
    for path in sorted((folder / "finetune" / "train").glob("*.arrow")):
        by_source.setdefault(path.stem.rpartition("-")[0], path)
    shards = [(source, Shard(path)) for source, path in by_source.items()]
    found = [(source, shard, i) for i in range(SHOWN) for source, shard in shards if i < shard.documents]
    if not found:
        return None
    shown = "".join(_dialogue(source, shard, i, codec) for source, shard, i in found[:SHOWN])
    note = tell("Marked: what the model learns to say. Grey: marks.", "着色的是模型要学会说的；灰色的是标记。")
    return Section(tell("What is trained", "训练的是什么"), [Html(f'<div class="excerpts">{shown}</div>')], note)


def _dialogue(source: str, shard: Shard, index: int, codec: Codec) -> Html:
    tokens_T, spans = shard.document(index)
    trained_T = np.zeros(len(tokens_T), bool)
    for start, end in spans or ():
        trained_T[start:end] = True
    tokens, trained = f"{len(tokens_T):,}", f"{int(trained_T.sum()):,}"
    label = f"{source} · " + tell(f"{tokens} tokens, {trained} trained", f"{tokens} 个词元，{trained} 个参与训练")
    body = "".join(_marked(piece) for piece in pieces(tokens_T, trained_T, codec))
    head = f'<p class="labels"><span>{escape(label)}</span></p>'
    return Html(f'<article class="labelled">{head}<p dir="auto">{body}</p></article>')


def _marked(piece: Piece) -> str:
    text = escape(shortened(piece.text, LONG))
    text = (
        Html(f'<span class="cut">{text}</span>') if piece.is_mark else Html(f"<b>{text}</b>") if piece.is_role else text
    )
    return f"<ins>{text}</ins>" if piece.trained else text
