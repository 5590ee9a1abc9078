"""Another's tokenizer in, a tokenizer folder of ours out: its vocabulary as it is, and the marks that it lacks.

A Hugging Face folder is taken by its `tokenizer.json` (BPE or Unigram); one that Yaya made, or a model trained with it,
by its SentencePiece model. Ids of pieces stay what they were, so weights that were trained with them stay usable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.tokenizer.publish import publish, publish_fast
from utils.chat import MARKS, Segment
from utils.codec import Codec
from utils.console import UserError
from utils.encoders import FAST, SPM, FastEncoder, damaged, why_not_understood
from utils.stage import Json

FIELD = "tokenizer.path"


def file_of(folder: Path) -> Path:
    """The file that is taken from a folder; what cannot be taken is named."""
    if not folder.is_dir():
        raise UserError(f"{FIELD} = {folder}: no such folder; give one that holds {FAST}")
    if (folder / SPM).is_file() and _is_ours(folder):
        return folder / SPM
    if (folder / FAST).is_file():
        return folder / FAST
    mend = "AutoTokenizer.from_pretrained(…).save_pretrained(…) writes one"
    raise UserError(f"{FIELD} = {folder}: holds no {FAST}; {mend}")


def _is_ours(folder: Path) -> bool:
    """Others name a file so, too: then their tokenizer.json is taken, if there is one."""
    try:
        Codec(folder)
    except UserError:
        if not (folder / FAST).is_file():
            raise
        return False
    return True


def take(path: Path, folder: Path) -> None:
    """Publish the tokenizer of a file in `folder`."""
    if path.name == SPM:
        publish(path.read_bytes(), folder)
        return
    FastEncoder(path)  # a damaged one is told here
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise damaged(path) from None
    if why := why_not_understood(tokenizer):
        raise UserError(f"{path}: {why}; give a folder with a BPE or Unigram tokenizer")
    publish_fast(with_marks(tokenizer), folder)


def with_marks(tokenizer: Json) -> Json:
    """The same tokenizer with all marks as special tokens, and with nothing that adds, cuts or pads by itself."""
    kept = [token for token in tokenizer["added_tokens"] if token["content"] not in MARKS]
    known = _vocabulary(tokenizer) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    free = 1 + max(known.values())
    for mark in MARKS:
        if mark not in known:
            known[mark] = free
            free += 1
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    marks = [{"id": known[mark], "content": mark, **plain} for mark in MARKS]
    added = sorted([*kept, *marks], key=lambda token: int(token["id"]))
    nothing = {"truncation": None, "padding": None, "post_processor": None}
    return tokenizer | nothing | {"added_tokens": added}


def _vocabulary(tokenizer: Json) -> dict[str, int]:
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return dict(vocabulary)
    return {piece: i for i, (piece, _) in enumerate(vocabulary)}


def marks_added(path: Path, codec: Codec) -> list[str]:
    """The marks that the tokenizer of this file did not know."""
    if path.name == SPM:
        return []
    encoder = FastEncoder(path)
    return [mark for mark in codec.marks if encoder.id_of(mark) is None]


def changed(codec: Codec, texts: Iterable[str]) -> list[str]:
    """The texts that do not come back as they were."""
    return [text for text in texts if codec.decode(codec.encode(text).tolist()) != text]


def told_apart(codec: Codec, conversations: Iterable[Sequence[Segment]]) -> int:
    """How many conversations get other ids from the published template, which is encoded in one piece.

    A tokenizer that joins line ends, or begins every text with a space, sees the seams between segments.
    """
    encoder = codec.encoder
    if not isinstance(encoder, FastEncoder):
        return 0
    encoder.tokenizer.encode_special_tokens = False
    try:
        written = [("".join(s.text for s in segments), segments) for segments in conversations]
        whole = [encoder.encode(text).tolist() for text, _ in written]
    finally:
        encoder.tokenizer.encode_special_tokens = True
    pairs = zip(whole, written, strict=True)
    return sum(ids != codec.encode_segments(segments)[0].tolist() for ids, (_, segments) in pairs)
