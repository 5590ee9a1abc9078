"""Sentences in, a SentencePiece model out: BPE with byte fallback, its marks out of reach of any text.

The same sentences give the same bytes on any machine: the number of threads, which the model file notes, is fixed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sentencepiece

from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.sample import LINE
from utils.chat import MARKS
from utils.console import UserError
from utils.encoders import SPACE

THREADS = 8
_REQUIRED = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_TOO_HIGH = re.compile(r"Please set it to a value <= (\d+)")


@dataclass(frozen=True)
class Vocabulary:
    """A trained model, and whether the text gave as many pieces as were asked for."""

    model: bytes
    size: int


def learn(sentences: Sequence[str], config: TokenizerConfig) -> Vocabulary:
    """A vocabulary of the size asked for, or the largest whose learned pieces all occur twice in the text."""
    size = config.vocab_size
    try:
        model = train(sentences, config, size)
    except RuntimeError as error:
        size = _largest_possible(error, config)
        model = train(sentences, config, size)
    useful = useful_size(load(model), sentences)
    if useful < size:
        size, model = useful, train(sentences, config, useful)
    return Vocabulary(model, size)


def train(sentences: Sequence[str], config: TokenizerConfig, size: int) -> bytes:
    """One training with exactly this many pieces; RuntimeError says what SentencePiece thinks of it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences), model_writer=model, **options(config, size)
    )
    return model.getvalue()


def options(config: TokenizerConfig, size: int) -> dict[str, Any]:
    """What SentencePiece is asked for."""
    return {
        "model_type": "bpe",
        "vocab_size": size,
        "character_coverage": config.coverage,
        "split_by_unicode_script": config.split_by_script,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "control_symbols": list(MARKS),
        "user_defined_symbols": ["\n"],
        "unk_id": 0,
        "bos_id": -1,
        "eos_id": -1,
        "pad_id": -1,
        "max_sentence_length": LINE * 4 + 1,
        "num_threads": THREADS,
        "minloglevel": 3,
    }


def load(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """A trained model, ready to be asked."""
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor


def useful_size(spm: sentencepiece.SentencePieceProcessor, sentences: Sequence[str]) -> int:
    """How many pieces remain without those that were learned from a single occurrence: they teach a model nothing.

    Pieces are learned in the order of their frequency, so the first rare one ends what is useful; a frequent one
    behind it is only a left-over, spoken for by the longer pieces before it.
    """
    size = spm.GetPieceSize()
    learned = [piece for i in range(size) if len(piece := spm.IdToPiece(i)) > 1 and not is_special(spm, i)]
    text = "\n".join(sentences).replace(" ", SPACE)

    def is_rare(piece: str) -> bool:
        return text.find(piece, text.find(piece) + 1) < 0

    if not any(is_rare(piece) for piece in learned[-100:]):  # the usual case, told without a long search
        return size
    return size - len(learned) + next(rank for rank, piece in enumerate(learned) if is_rare(piece))


def is_special(spm: sentencepiece.SentencePieceProcessor, i: int) -> bool:
    """A mark, a byte or the unknown: no piece of text."""
    return bool(spm.IsControl(i) or spm.IsUnknown(i) or spm.IsByte(i))


def _largest_possible(error: RuntimeError, config: TokenizerConfig) -> int:
    """What SentencePiece's complaint means for us: a smaller size, or a mistake of the person's."""
    if found := _TOO_HIGH.search(str(error)):
        return int(found[1])
    if found := _REQUIRED.search(str(error)):
        raise UserError(
            f"tokenizer.vocab_size = {config.vocab_size}: marks, bytes and the text's characters alone need "
            f"{found[1]}; raise it, or lower tokenizer.coverage = {config.coverage:g}"
        ) from None
    raise error
