"""Clean records in, a tokenizer out: spm.model, tokenizer.json, tokenizer_config.json, chat_template.jinja.

A sample of the train records (`sample.py`) teaches SentencePiece a vocabulary (`vocabulary.py`), which is
published in the form that other tools read (`publish.py`); or another's vocabulary is taken (`imported.py`). Either
is measured beside others (`report.py`).
Alone: `python -m pipeline.tokenizer configs/demo.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.imported import file_of, take
from pipeline.tokenizer.measured import compared, tokenizer_in
from pipeline.tokenizer.page import origin
from pipeline.tokenizer.publish import publish
from pipeline.tokenizer.report import beside, renew_report, write_report
from pipeline.tokenizer.sample import Sample, draw, estimate, lines_of
from pipeline.tokenizer.vocabulary import Vocabulary, learn
from utils.console import UserError, amount, progress, say, tell, warn
from utils.memory import available
from utils.stage import Json, build
from utils.workers import run_apart

NOTABLE = 0.02
"""A difference of shares worth a word."""

LONG = 2_000_000
"""A sample of more characters takes more than a moment to learn from."""


def inputs_of(config: TokenizerConfig, clean: Path) -> dict[str, Path | Json]:
    """What the stage reads."""
    taken = {"path": file_of(Path(os.path.expanduser(config.path)))} if config.path else {}
    return {"clean": clean, **taken}


def refuse_missing(config: TokenizerConfig) -> None:
    """Folders that the recipe names have to be there."""
    inputs_of(config, Path())
    for folder in config.compare:
        tokenizer_in(Path(folder))


def run(config: TokenizerConfig, clean: Path, output: Path) -> bool:
    """Make the tokenizer, unless it is there already."""
    inputs = inputs_of(config, clean)
    done: Json = {}

    def work(folder: Path) -> Json:
        others = compared(config.compare)  # what is wrong with one is told before any work
        taken = inputs.get("path")
        known = take(taken, clean, folder) if isinstance(taken, Path) else _learn(config, clean, folder)
        done.update(write_report(clean, folder, others, known | {"compared": config.compare}))
        return known

    if not build("tokenizer", config, inputs, output, work, ("sentencepiece", "tokenizers")):
        done = renew_report(clean, output, config.compare) or {}
    if done:
        size, rest = f"{done['vocab_size']:,}", f"{beside(done)} -> {output}"
        english = f"{size} pieces, {origin(done)}; {rest}"
        say(tell(f"tokenizer: {english}", f"词表：{origin(done)}，共 {size} 个词元；{rest}"))
    return bool(done)


def _learn(config: TokenizerConfig, clean: Path, folder: Path) -> Json:
    sample = drawn(config, clean)
    with progress(tell("tokenizer: learn", "词表：训练")):
        vocabulary = _learned(sample.lines(), config)
    publish(vocabulary.model, folder)
    size = vocabulary.size
    if size < config.vocab_size:
        say(
            tell(
                f"tokenizer: {config.vocab_size:,} pieces are too many for this text; the vocabulary has {size:,}",
                f"词表：文本太少，撑不起 {config.vocab_size:,} 个词元，词表缩为 {size:,}",
            )
        )
    return {
        "asked": config.vocab_size,
        "vocab_size": size,
        "sampled_records": len(sample.texts),
        "sampled_bytes": sum(sample.bytes_by_language.values()),
        "sampled_by_language": sample.bytes_by_language,
    }


def drawn(config: TokenizerConfig, clean: Path) -> Sample:
    """The sample, after a word on what it will cost."""
    ahead = estimate(clean, config)
    _tell_estimate(config, ahead.text, ahead.sample, ahead.memory)
    with progress(tell("tokenizer: read", "词表：读取"), ahead.records, tell("records", "条")) as meter:
        sample = draw(clean, config, meter.advance)
    if not any(line.strip() for text in sample.texts for line in lines_of(text)):
        mend = "give clean.inputs more" + (", or correct tokenizer.languages" if config.languages else "")
        raise UserError(f"{clean}: no text in the train split to learn a vocabulary from; {mend}")
    if config.languages:
        _tell_shares(config.languages, sample.bytes_by_language)
    return sample


def _tell_shares(asked: Mapping[str, float], got: Mapping[str, int]) -> None:
    """Where a language has too little text for its share, the shares are others than those asked for."""
    wanted = {name: share / sum(asked.values()) for name, share in asked.items() if share}
    real = {name: got.get(name, 0) / sum(got.values()) for name in wanted}
    if any(abs(real[name] - share) > NOTABLE for name, share in wanted.items()):
        before, after = (", ".join(f"{name} {share:.0%}" for name, share in some.items()) for some in (wanted, real))
        short = ", ".join(name for name, share in wanted.items() if real[name] < share)
        warn(
            tell(
                f"tokenizer.languages: asked for {before}; there is too little text in {short}, so it is {after}",
                f"tokenizer.languages：要求 {before}；{short} 文本不足，实际为 {after}",
            )
        )


def _tell_estimate(config: TokenizerConfig, text: int, sample: int, memory: int) -> None:
    read, there, needed = amount(sample), amount(text), amount(memory)
    english = f"learns from up to {read} of {there} of text, in up to {needed} of memory"
    say(tell(f"tokenizer: {english}", f"词表：从 {there} 文本中至多取 {read} 学习，至多需内存 {needed}"))
    if (room := available()) is not None and memory > room:
        mend = f"tokenizer.sample_megabytes={max(1, int(config.sample_megabytes * room / memory * 0.8))}"
        free = amount(room)
        english = f"tokenizer: only {free} are free; if it is killed, give {mend}"
        warn(tell(english, f"词表：可用内存只有 {free}；若被系统终止，请设 {mend}"))


def _learned(sentences: list[str], config: TokenizerConfig) -> Vocabulary:
    """A vocabulary; a large sample teaches it in a process of its own, so that Ctrl-C is answered meanwhile."""
    learning = partial(learn, config=config)
    if sum(map(len, sentences)) < LONG:
        return learning(sentences)
    mend = f"give tokenizer.sample_megabytes below {config.sample_megabytes}"
    return run_apart(learning, sentences, mend)
