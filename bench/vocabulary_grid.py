"""How far vocabularies compress: clean records come in, held-out characters and bytes a token go out, a row a setting.

No model is trained here. A vocabulary may spend its pieces on single characters, or spell what is rare in bytes; both
are counted, for compression alone does not say what a model makes of it (`vocabulary_models.py` does).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import sentencepiece

from bench.vocabulary_corpus import MODERN
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.sample import LINE, draw, lines_of
from pipeline.tokenizer.vocabulary import is_special, learn, load, options
from utils.console import UserError
from utils.records import read_records, record_shards
from utils.stage import Json

SIZES = (4_000, 6_400, 16_000, 32_000)
COVERAGES = (0.98, 0.99, 0.995, 0.999, 0.9995)


def held_out(clean: Path) -> dict[str, list[str]]:
    """The texts of the valid split, by source."""
    shards = record_shards(clean, "valid")
    return {source: [r["text"] for path in paths for r in read_records(path)] for source, paths in shards.items()}


def sample(clean: Path) -> list[str]:
    """The train split as the tokenizer stage learns from it."""
    return draw(clean, TokenizerConfig(sample_megabytes=10_000)).lines()


def grid(clean: Path, sizes: Sequence[int] = SIZES, coverages: Sequence[float] = COVERAGES) -> Iterable[Json]:
    """A row for each size, coverage and way with scripts."""
    sentences, texts = sample(clean), held_out(clean)
    for size, coverage, split in product(sizes, coverages, (False, True)):
        row = {"vocab_size": size, "coverage": coverage, "split_by_script": split}
        try:
            vocabulary = learn(sentences, TokenizerConfig(vocab_size=size, coverage=coverage, split_by_script=split))
        except UserError:  # not even the characters have room
            continue
        yield row | pieces(load(vocabulary.model)) | fit(load(vocabulary.model), texts)


def pieces(spm: sentencepiece.SentencePieceProcessor) -> Json:
    """How many pieces are single characters."""
    known = [spm.IdToPiece(i) for i in range(spm.GetPieceSize()) if not is_special(spm, i)]
    return {"single_characters": sum(len(piece) == 1 for piece in known)}


def fit(spm: sentencepiece.SentencePieceProcessor, texts: dict[str, list[str]]) -> Json:
    """By source: characters a token, bytes a token, and the share of tokens that are single bytes of a character."""
    is_byte_V = np.array([spm.IsByte(i) for i in range(spm.GetPieceSize())])
    found = {}
    for source, some in texts.items():
        ids = np.concatenate([np.asarray(one) for one in spm.Encode(some)])
        found[f"{source}_chars_per_token"] = round(sum(map(len, some)) / len(ids), 3)
        found[f"{source}_bytes_per_token"] = round(sum(len(text.encode()) for text in some) / len(ids), 3)
        found[f"{source}_byte_tokens"] = round(float(is_byte_V[ids].mean()), 4)
    return found


# ---------------------------------------------------------------- line ends


def line_ends(clean: Path, config: TokenizerConfig) -> Iterable[Json]:
    """What a line end of its own costs: characters a token of modern text with a line end after so many sentences.

    `alone`: it joins no other character, as published. `stop`: alone, or in one piece with the 。 before it.
    `free`: it may stand anywhere in a piece.
    """
    shards = record_shards(clean, "train")[MODERN]
    train = [record["text"] for shard in shards for record in read_records(shard, ["text"])]
    for sentences in (1, 4, 16):
        texts = {MODERN: [broken(text, sentences) for text in held_out(clean)[MODERN]]}
        lines = sum(text.count("\n") + 1 for text in texts[MODERN])
        row = {"sentences_a_line": sentences, "chars_a_line": round(sum(map(len, texts[MODERN])) / lines)}
        for name, model in taught([broken(text, sentences) for text in train], config):
            row[name] = fit(load(model), texts)[f"{MODERN}_chars_per_token"]
        yield row


def broken(text: str, sentences: int) -> str:
    """A line end after every so many sentences."""
    parts = re.split("(?<=。)", text)
    return "\n".join("".join(parts[i : i + sentences]) for i in range(0, len(parts), sentences))


def taught(texts: Sequence[str], config: TokenizerConfig) -> Iterable[tuple[str, bytes]]:
    """The three vocabularies."""
    lines = [line for text in texts for line in lines_of(text)]
    runs = [text[i : i + LINE] for text in texts for i in range(0, len(text), LINE)]
    for name, sentences, symbols in (("alone", lines, ["\n"]), ("stop", lines, ["\n", "。\n"]), ("free", runs, [])):
        model = io.BytesIO()
        wanted = options(config, config.vocab_size) | {"user_defined_symbols": symbols}
        sentencepiece.SentencePieceTrainer.Train(sentence_iterator=iter(sentences), model_writer=model, **wanted)
        yield name, model.getvalue()
