"""Clean records in, a tokenizer out: spm.model, tokenizer.json, tokenizer_config.json, chat_template.jinja.

A sample of the train records (`sample.py`) teaches SentencePiece a vocabulary (`vocabulary.py`), which is
published in the form that other tools read (`publish.py`); or another's vocabulary is taken (`imported.py`).
Alone: `python -m pipeline.tokenizer configs/demo.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path

from pipeline.tokenizer import imported
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.publish import publish
from pipeline.tokenizer.sample import Sample, draw, estimate, texts_of
from pipeline.tokenizer.vocabulary import Vocabulary, learn
from utils.chat import conversation
from utils.codec import Codec
from utils.console import UserError, progress, say, tell, warn
from utils.memory import available
from utils.records import Record, read_records, record_shards
from utils.stage import Json, build, write_json
from utils.workers import run_apart

LONG = 2_000_000
"""A sample of more bytes takes more than a moment to learn from."""

TRIED = 2000
"""Records that a tokenizer which was taken has to bring back as they were."""


def inputs_of(config: TokenizerConfig, clean: Path) -> dict[str, Path | Json]:
    """What the stage reads."""
    taken = {"path": imported.file_of(Path(config.path).expanduser())} if config.path else {}
    return {"clean": clean, **taken}


def run(config: TokenizerConfig, clean: Path, output: Path) -> bool:
    """Make the tokenizer, unless it is there already."""
    inputs = inputs_of(config, clean)

    def work(folder: Path) -> Json:
        taken = inputs.get("path")
        counters = _take(taken, clean, folder) if isinstance(taken, Path) else _learn(config, clean, folder)
        write_json(folder / "report.json", counters)
        return counters

    return build("tokenizer", config, inputs, output, work, ("sentencepiece", "tokenizers"))


# ---------------------------------------------------------------- learned


def _learn(config: TokenizerConfig, clean: Path, folder: Path) -> Json:
    sample = _drawn(config, clean)
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
        "sampled_bytes": sample.bytes_by_language,
    }


def _drawn(config: TokenizerConfig, clean: Path) -> Sample:
    """The sample, after a word on what it will cost."""
    ahead = estimate(clean, config)
    _tell_estimate(config, ahead.text, ahead.sample, ahead.memory)
    with progress(tell("tokenizer: read", "词表：读取"), ahead.records, tell("records", "条")) as meter:
        sample = draw(clean, config, meter.advance)
    if not any(text.strip() for text in sample.texts):
        raise UserError(f"{clean}: no text in the train split to learn a vocabulary from; give clean.inputs more")
    if short := [name for name, share in config.languages.items() if share and name not in sample.bytes_by_language]:
        named = ", ".join(short)
        warn(tell(f"tokenizer.languages: no text in {named}", f"tokenizer.languages：语料中没有 {named} 文本"))
    return sample


def _tell_estimate(config: TokenizerConfig, text: int, sample: int, memory: int) -> None:
    read, there, needed = (f"{size / 1e6:,.{0 if size > 1e7 else 1}f} MB" for size in (sample, text, memory))
    english = f"learns from {read} of {there} of text, about {needed} of memory"
    say(tell(f"tokenizer: {english}", f"词表：从 {there} 文本中取 {read} 学习，约需内存 {needed}"))
    if (room := available()) is not None and memory > room:
        mend = f"tokenizer.sample_megabytes={max(1, int(config.sample_megabytes * room / memory * 0.8))}"
        free = f"{room / 1e6:,.0f} MB"
        english = f"tokenizer: only {free} are free; if it is killed, give {mend}"
        warn(tell(english, f"词表：可用内存只有 {free}；若被系统终止，请设 {mend}"))


def _learned(sentences: list[str], config: TokenizerConfig) -> Vocabulary:
    """A vocabulary; a large sample teaches it in a process of its own, so that Ctrl-C is answered meanwhile."""
    learning = partial(learn, config=config)
    if sum(map(len, sentences)) < LONG:
        return learning(sentences)
    mend = f"give tokenizer.sample_megabytes below {config.sample_megabytes}"
    return run_apart(learning, sentences, mend)


# ---------------------------------------------------------------- taken


def _take(path: Path, clean: Path, folder: Path) -> Json:
    imported.take(path, folder)
    codec = Codec(folder)
    added = imported.marks_added(path, codec)
    named = tell(f"; marks added: {' '.join(added)}", f"；补上标记 {' '.join(added)}") if added else ""
    say(
        tell(
            f"tokenizer: {codec.vocab_size:,} pieces taken from {path}{named}",
            f"词表：取自 {path}，共 {codec.vocab_size:,} 个词元{named}",
        )
    )
    records = list(islice(_train_records(clean), TRIED))
    texts = [text for record in records for text in texts_of(record)]
    changed = imported.changed(codec, texts)
    chats = [conversation(r["messages"], r["tools"]) for r in records if r["kind"] == "chat"]
    apart = imported.told_apart(codec, chats)
    _tell_losses(len(texts), changed, len(chats), apart)
    return {
        "taken": path.name,
        "vocab_size": codec.vocab_size,
        "marks_added": added,
        "tried": {"texts": len(texts), "changed": len(changed), "chats": len(chats), "template_differs": apart},
    }


def _train_records(clean: Path) -> Iterator[Record]:
    """Source by source in turn, so that the first of each are among the first."""
    streams = [chain.from_iterable(map(read_records, some)) for some in record_shards(clean, "train").values()]
    for records in zip_longest(*streams):
        yield from filter(None, records)


def _tell_losses(texts: int, changed: Sequence[str], chats: int, apart: int) -> None:
    """What a tokenizer that was taken does worse than one of ours."""
    if changed:
        first = excerpt(changed[0])
        warn(
            tell(
                f"tokenizer: {len(changed):,} of {texts:,} texts do not come back as they were, such as {first}",
                f"词表：{texts:,} 段文本中有 {len(changed):,} 段无法原样还原，例如 {first}",
            )
        )
    if apart:
        english = f"{apart:,} of {chats:,} dialogues get other ids from the chat template than in training"
        chinese = f"{chats:,} 段对话中有 {apart:,} 段，按聊天模板编码与训练所读不一致"
        warn(tell(f"tokenizer: {english}", f"词表：{chinese}"))


def excerpt(text: str) -> str:
    """The beginning of a text, as it can be printed anywhere."""
    return ascii(text[:40]) if not text[:40].isprintable() else repr(text[:40])
