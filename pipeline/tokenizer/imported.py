"""Another's tokenizer in, a tokenizer folder of ours out: its vocabulary as it is, and the marks that it lacks.

A Hugging Face folder is taken by its `tokenizer.json` (BPE or Unigram); one that Yaya made, or a model trained with it,
by its SentencePiece model. Ids of pieces stay what they were, so weights that were trained with them stay usable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from pipeline.tokenizer.publish import publish, publish_fast
from pipeline.tokenizer.sample import texts_of
from utils.chat import MARKS, Segment, conversation
from utils.codec import Codec
from utils.console import UserError, say, tell, warn
from utils.encoders import FAST, SPM, FastEncoder, why_not_understood
from utils.records import Record, read_records, record_shards
from utils.stage import Json

FIELD = "tokenizer.path"

TRIED = 2000
"""Records that a tokenizer which was taken has to bring back as they were."""

LEAST_KEPT = 0.5
"""Share of the characters: less is no loss of spaces or of widths, but a tokenizer that does not work."""


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
            raise UserError(f"{FIELD} = {folder}: its {SPM} is damaged, or not one of ours; copy it again") from None
        return False
    return True


def take(path: Path, clean: Path, folder: Path) -> Json:
    """Publish the tokenizer of a file in `folder`, say what it does to the train records, and count it."""
    codec, added = publish_taken(path, folder)
    if added:
        say(tell(f"tokenizer: marks added: {' '.join(added)}", f"词表：补上标记 {' '.join(added)}"))
    records = list(islice(_train_records(clean), TRIED))
    texts = [text for record in records for text in texts_of(record)]
    back = [codec.decode(ids.tolist()) for ids in codec.encode_all(texts)]
    lost = [(text, again) for text, again in zip(texts, back, strict=True) if text != again]
    chats = {r["id"]: conversation(r["messages"], r["tools"]) for r in records if r["kind"] == "chat"}
    apart = told_apart(codec, chats)
    if (share := kept(texts, back)) < LEAST_KEPT:
        raise UserError(f"{path}: brings back {share:.0%} of the characters of your texts; give another")
    if lost:
        _tell_lost(len(texts), len(records), lost)
    if apart:
        _tell_apart(len(chats), apart)
    return {
        "taken": str(path),
        "vocab_size": codec.vocab_size,
        "marks_added": added,
        "tried": {"texts": len(texts), "changed": len(lost), "chats": len(chats), "template_differs": len(apart)},
    }


def _train_records(clean: Path) -> Iterator[Record]:
    """Source by source in turn, so that the first of each are among the first."""
    streams = [chain.from_iterable(map(read_records, some)) for some in record_shards(clean, "train").values()]
    for records in zip_longest(*streams):
        yield from filter(None, records)


def _tell_lost(texts: int, records: int, lost: Sequence[tuple[str, str]]) -> None:
    """What a tokenizer that was taken does not bring back, from its first difference on."""
    text, again = lost[0]
    differs = (i for i, (a, b) in enumerate(zip(text, again, strict=False)) if a != b)
    start = max(0, next(differs, min(len(text), len(again))) - 5)
    first = f"{excerpt(text[start:])} -> {excerpt(again[start:])}"
    english = f"{len(lost):,} of {texts:,} texts (or turns) in {records:,} records do not come back as they were"
    chinese = f"{records:,} 条记录的 {texts:,} 段文本（对话按轮计）中有 {len(lost):,} 段无法原样还原"
    warn(tell(f"tokenizer: {english}: {first}", f"词表：{chinese}：{first}"))


def _tell_apart(chats: int, apart: Sequence[str]) -> None:
    """Where the published template would not be what was trained on."""
    english = f"{len(apart):,} of {chats:,} dialogues get other ids from the chat template than in training: {apart[0]}"
    chinese = f"{chats:,} 段对话中有 {len(apart):,} 段，按聊天模板编码与训练所读不一致：{apart[0]}"
    warn(tell(f"tokenizer: {english}", f"词表：{chinese}"))


def excerpt(text: str) -> str:
    """The beginning of a text in one line: what does not print is written as an escape."""
    return repr(text[:40])


def publish_taken(path: Path, folder: Path) -> tuple[Codec, list[str]]:
    """The tokenizer of a file as a folder of ours, opened; and the marks that it did not know."""
    if path.name == SPM:
        publish(path.read_bytes(), folder)
        return Codec(folder), []
    encoder = _opened(path)
    if why := why_not_understood(encoder.spec):
        raise UserError(f"{path}: {why}; give a folder with a BPE or Unigram tokenizer")
    publish_fast(with_marks(encoder.spec), folder)
    codec = Codec(folder)
    if spoken := marks_in_text(codec):
        raise UserError(f"{path}: makes {' '.join(spoken)} of what a text says; give a tokenizer without these pieces")
    return codec, [mark for mark in codec.marks if encoder.id_of(mark) is None]


def _opened(path: Path) -> FastEncoder:
    try:
        encoder = FastEncoder(path)
    except UserError:
        raise UserError(f"{FIELD} = {path.parent}: its {FAST} cannot be read; copy it again") from None
    given = len(encoder.tokenizer.get_vocab(with_added_tokens=True))
    if encoder.vocab_size > 2 * given + 1000:
        raise UserError(
            f"{path}: has {given:,} pieces and ids up to {encoder.vocab_size - 1:,}; give another tokenizer"
        )
    return encoder


def marks_in_text(codec: Codec) -> list[str]:
    """The marks that a person could type: those that are pieces of the vocabulary, too."""
    places = ("{}", "a{}", " {}", "{}a", "字{}字")
    typed = {mark: codec.encode_all([place.format(mark) for place in places]) for mark in codec.marks}
    return [mark for mark, found in typed.items() if any(codec.marks[mark] in ids for ids in found)]


def with_marks(tokenizer: Json) -> Json:
    """The same with all marks as special tokens, and with nothing that adds, cuts, pads or draws lots by itself."""
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
    model = tokenizer["model"] | ({"dropout": None} if "dropout" in tokenizer["model"] else {})
    return tokenizer | nothing | {"added_tokens": added, "model": model}


def _vocabulary(tokenizer: Json) -> dict[str, int]:
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return dict(vocabulary)
    return {piece: i for i, (piece, _) in enumerate(vocabulary)}


def kept(texts: Sequence[str], back: Sequence[str]) -> float:
    """The share of the characters that come back, wherever they then stand."""
    pairs = zip(map(Counter, texts), map(Counter, back), strict=True)
    return sum((before & after).total() for before, after in pairs) / max(sum(map(len, texts)), 1)


def told_apart(codec: Codec, conversations: Mapping[str, Sequence[Segment]]) -> list[str]:
    """The conversations that get other ids from the published template, which is encoded in one piece.

    A tokenizer that joins line ends, or begins every text with a space, sees the seams between segments; and a mark
    that somebody typed is text to training alone.
    """
    encoder = codec.encoder
    if not isinstance(encoder, FastEncoder):
        return []
    encoder.tokenizer.encode_special_tokens = False
    try:
        written = ["".join(s.text for s in segments) for segments in conversations.values()]
        whole = [ids.tolist() for ids in encoder.encode_all(written)]
    finally:
        encoder.tokenizer.encode_special_tokens = True
    pairs = zip(whole, conversations.items(), strict=True)
    return [name for ids, (name, segments) in pairs if ids != codec.encode_segments(segments)[0].tolist()]
