"""Clean records in, a tokenizer out: spm.model, tokenizer.json, tokenizer_config.json, chat_template.jinja.

A sample of the train records (`sample.py`) teaches SentencePiece a vocabulary (`vocabulary.py`), which is
published in the form that other tools read (`publish.py`). Alone: `python -m pipeline.tokenizer configs/demo.yaml`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import sentencepiece

from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.publish import publish
from pipeline.tokenizer.sample import bytes_in, drawn, lines_of, texts_of
from pipeline.tokenizer.vocabulary import Vocabulary, learn, load
from utils.console import UserError, progress, say, tell
from utils.stage import Json, build, write_json
from utils.workers import run_apart

LONG = 2_000_000
"""A sample of more characters takes more than a moment to learn from."""

MEASURED = 1_000_000
"""Characters of each source that are encoded to see how well the vocabulary fits it."""


def run(config: TokenizerConfig, clean: Path, output: Path) -> bool:
    """Make the tokenizer, unless it is there already."""
    done: Json = {}

    def work(folder: Path) -> Json:
        done.update(_make(config, clean, folder))
        return {name: done[name] for name in ("asked", "vocab_size", "sampled_records", "sampled_bytes")}

    built = build("tokenizer", config, {"clean": clean}, output, work, ("sentencepiece", "tokenizers"))
    if built:
        for line in closing_lines(done, output):
            say(line)
    return built


def _make(config: TokenizerConfig, clean: Path, folder: Path) -> Json:
    total = bytes_in(clean)
    share = min(1.0, config.sample_megabytes * 1e6 / max(total, 1))
    sentences: list[str] = []
    beginnings: dict[str, list[str]] = {}
    measured: dict[str, int] = {}
    records = 0
    with progress(tell("tokenizer: read", "词表：读取"), int(total * share), tell("bytes", "字节")) as meter:
        for record in drawn(clean, share, config.seed):
            records += 1
            source = record["source"]
            for text in texts_of(record):
                sentences += lines_of(text)
                meter.advance(len(text.encode()))
                if measured.get(source, 0) < MEASURED:
                    beginnings.setdefault(source, []).append(text)
                    measured[source] = measured.get(source, 0) + len(text)
    if not any(sentences):
        raise UserError(f"{clean}: no text in the train split to learn a vocabulary from; give clean.inputs more")
    with progress(tell("tokenizer: learn", "词表：训练")):
        vocabulary = _learned(sentences, config)
    publish(vocabulary.model, folder)
    report = {
        "asked": config.vocab_size,
        "vocab_size": vocabulary.size,
        "sampled_records": records,
        "sampled_bytes": sum(len(s.encode()) for s in sentences),
        "characters_per_token": fit(load(vocabulary.model), beginnings),
    }
    write_json(folder / "report.json", report)
    return report


def _learned(sentences: list[str], config: TokenizerConfig) -> Vocabulary:
    """A vocabulary; a large sample teaches it in a process of its own, so that Ctrl-C is answered meanwhile."""
    learning = partial(learn, config=config)
    if sum(map(len, sentences)) < LONG:
        return learning(sentences)
    mend = f"give tokenizer.sample_megabytes below {config.sample_megabytes}"
    return run_apart(learning, sentences, mend)


def fit(spm: sentencepiece.SentencePieceProcessor, texts: dict[str, list[str]]) -> dict[str, float]:
    """Characters a token, by source, on the beginning of each."""
    found = {}
    for source, pieces in texts.items():
        tokens = sum(len(ids) for ids in spm.Encode(pieces))
        found[source] = round(sum(map(len, pieces)) / max(tokens, 1), 3)
    return found


def closing_lines(report: Json, output: Path) -> list[str]:
    """What a person wants to know of it."""
    lines = []
    asked, size = report["asked"], report["vocab_size"]
    if size < asked:
        lines.append(
            tell(
                f"tokenizer: {asked:,} pieces are too many for this text; the vocabulary has {size:,}",
                f"词表：文本太少，撑不起 {asked:,} 个词元，词表缩为 {size:,}",
            )
        )
    fits = ", ".join(f"{source} {value:.2f}" for source, value in report["characters_per_token"].items())
    text = f"{report['sampled_bytes'] / 1e3:,.0f} kB"
    lines.append(
        tell(
            f"tokenizer: {size:,} pieces from {text} of text; characters a token: {fits} -> {output}",
            f"词表：从 {text} 文本得到 {size:,} 个词元；每词元字数：{fits} -> {output}",
        )
    )
    return lines
