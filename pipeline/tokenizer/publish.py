"""A SentencePiece model in, the files that transformers and others read out; both give the same ids.

Only SentencePiece's own API is asked (no protobuf) and only the `tokenizers` package is used (no transformers):
the merges are every way in which a learned piece falls into two known ones, best pieces first.
"""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from pipeline.tokenizer.vocabulary import is_special, load
from utils.chat import END_OF_TURN, MARKS, PAD, TEMPLATE
from utils.encoders import FAST, SPACE, SPM
from utils.stage import Json, whole, write_json

NEWLINE = "\n"


def publish(model: bytes, folder: Path) -> None:
    """All files of a tokenizer folder."""
    _write(folder / SPM, model)
    publish_fast(json.loads(fast_tokenizer(load(model)).to_str()), folder)


def publish_fast(tokenizer: Json, folder: Path) -> None:
    """What `AutoTokenizer` loads."""
    _write(folder / FAST, json.dumps(tokenizer, ensure_ascii=False, indent=2).encode())
    _write(folder / "chat_template.jinja", TEMPLATE.encode())
    write_json(folder / "tokenizer_config.json", wrapper_config())


def fast_tokenizer(spm: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    """The same vocabulary for the `tokenizers` package."""
    vocabulary = {spm.IdToPiece(i): i for i in range(spm.GetPieceSize())}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges(spm), unk_token=None, fuse_unk=False, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    tokenizer.add_tokens([AddedToken(NEWLINE, special=False, normalized=False)])
    return tokenizer


def merges(spm: sentencepiece.SentencePieceProcessor) -> list[tuple[str, str]]:
    """Every split of a learned piece into two known ones; pieces by descending score, splits by their ids."""
    ids = range(spm.GetPieceSize())
    known = {spm.IdToPiece(i): i for i in ids if not is_special(spm, i) and spm.IdToPiece(i) != NEWLINE}
    found = []
    for piece in sorted(known, key=lambda p: (-spm.GetScore(known[p]), known[p])):
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        pairs = [(a, b) for a, b in halves if a in known and b in known]
        found += sorted(pairs, key=lambda pair: (known[pair[0]], known[pair[1]]))
    return found


def wrapper_config() -> Json:
    """What AutoTokenizer needs to know. No unk_token: a typed `<unk>` would become id 0."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TURN,
        "pad_token": PAD,
        "additional_special_tokens": [mark for mark in MARKS if mark not in (END_OF_TURN, PAD)],
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _write(path: Path, content: bytes) -> None:
    with whole(path) as draft:
        draft.write_bytes(content)
