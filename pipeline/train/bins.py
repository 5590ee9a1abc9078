"""Dialogues into rows of L, once: best fit within windows, nothing cut that fits. The plan is kept in files.

A source's dialogues come in; out come, by the row they share, the pieces of them (which of the source's tokens), and
the stretches of slots that are trained. A piece of n tokens takes n - 1 slots of a row: its inputs are all but its last
token, its targets all but its first. The plan depends on the shards and L alone; the order of the rows is the feed's.
It is made a window at a time and read through memory maps, so that neither costs memory by the size of the corpus.

Shapes: N documents, P pieces, S stretches, B rows (bins).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.train.fit import fitted
from utils.console import UserError
from utils.shards import Batch, Source, mapped, ranges
from utils.stage import file_entry, read_json, whole, write_json

WINDOW = 100_000
"""Pieces that are binned together: bounds memory, and keeps neighbours of the stored order near each other."""

FORM = 3
"""Raise it when the plan of the same shards would come out different, so that no old plan is read."""

PARTS = ("pieces", "trained", "edges")


@dataclass(frozen=True)
class Plan:
    """P pieces and S trained stretches in B rows, mapped into memory, and what became of the documents."""

    pieces_P2: np.ndarray  # a piece's first token, and the one behind its last, counted through the source
    trained_S2: np.ndarray  # a stretch's first slot in its row, and the one behind its last
    edges_B2: np.ndarray  # row b holds pieces_P2[edges_B2[b, 0] : edges_B2[b + 1, 0]]; column 1: trained_S2's
    counts: dict[str, int]


def planned(source: Source, seq_len: int, turn: int, cache: Path) -> Plan:
    """The plan of a source, from `cache` if it was made before; `turn` is the id that opens a turn."""
    stem = f"{source.name}-{seq_len}-{source.identity}-{FORM}"
    paths = [cache / f"{stem}.{part}" for part in PARTS]
    note = cache / f"{stem}.json"  # written last
    types = number_types(source, seq_len)
    if not _is_whole(note, paths):
        with ExitStack() as drafts:
            files = [drafts.enter_context(drafts.enter_context(whole(path)).open("wb")) for path in paths]
            counts = make_plan(source, seq_len, turn, files)
        write_json(note, {"counts": counts, "files": [file_entry(path) for path in paths]})
    pieces_P2, trained_S2, edges_B2 = (
        mapped(path, dtype).reshape(-1, 2) for path, dtype in zip(paths, types, strict=True)
    )
    return Plan(pieces_P2, trained_S2, edges_B2, read_json(note)["counts"])


def _is_whole(note: Path, paths: Sequence[Path]) -> bool:
    """Is the plan there, as it was made? If not it is made again: it is only a cache."""
    try:
        return bool(read_json(note, "counts")["files"] == [file_entry(path) for path in paths])
    except (OSError, UserError, KeyError):
        return False


def number_types(source: Source, seq_len: int) -> tuple[np.dtype, np.dtype, np.dtype]:
    """Of a plan's three files: no wider than they must be."""
    return np.min_scalar_type(source.tokens), np.min_scalar_type(seq_len), np.dtype(np.int64)


def make_plan(source: Source, seq_len: int, turn: int, files: Sequence[IO[bytes]]) -> dict[str, int]:
    """Cut what is too long, bin the rest, write it; returns the counts."""
    counts: Counter[str] = Counter(documents=source.documents)
    edges_2 = np.zeros((1, 2), np.int64)
    types = number_types(source, seq_len)
    edges_2.tofile(files[2])
    for window in _windows(_pieces(source, seq_len, turn, counts)):
        rows = _binned(window, seq_len)
        made = (rows.pieces_P2, rows.trained_S2, rows.edges_B2[1:] + edges_2)
        for file, array, dtype in zip(files, made, types, strict=True):
            array.astype(dtype).tofile(file)
        edges_2 = made[2][-1:]
        counts["pieces"] += len(rows.pieces_P2)
        counts["slots"] += int((rows.pieces_P2[:, 1] - rows.pieces_P2[:, 0] - 1).sum())
        counts["sequences"] += len(rows.edges_B2) - 1
    names = ("documents", "cut", "turns_left_out", "untrained_left_out", "pieces", "slots", "sequences")
    return {name: counts[name] for name in names}


# ---------------------------------------------------------------- pieces


@dataclass(frozen=True)
class _Pieces:
    """P pieces in some order, and for each its trained stretches, in slots from the piece's first."""

    pieces_P2: np.ndarray
    trained_S2: np.ndarray
    edges_P1: np.ndarray  # piece p has trained_S2[edges_P1[p] : edges_P1[p + 1]]

    def some(self, first: int, end: int) -> _Pieces:
        """Neighbours."""
        edges = self.edges_P1[first : end + 1]
        return _Pieces(self.pieces_P2[first:end], self.trained_S2[edges[0] : edges[-1]], edges - edges[0])

    def followed_by(self, more: _Pieces) -> _Pieces:
        """Both, one behind the other."""
        edges_P1 = np.concatenate([self.edges_P1, more.edges_P1[1:] + self.edges_P1[-1]])
        pieces_P2 = np.concatenate([self.pieces_P2, more.pieces_P2])
        return _Pieces(pieces_P2, np.concatenate([self.trained_S2, more.trained_S2]), edges_P1)


def _pieces(source: Source, seq_len: int, turn: int, counts: Counter[str]) -> Iterator[_Pieces]:
    """Pieces in stored order, a record batch's worth at a time."""
    before = 0
    for batch in source.batches():
        lengths_N = np.diff(batch.edges_N1)
        fits_N = lengths_N <= seq_len + 1
        rows_M = np.flatnonzero(fits_N & (lengths_N > 1))
        whole_M3 = np.stack([rows_M, np.zeros_like(rows_M), lengths_N[rows_M]], axis=1)
        cut = [_cut_document(batch, row, seq_len, turn, counts) for row in np.flatnonzero(~fits_N).tolist()]
        both_P3 = np.concatenate([whole_M3, *cut])
        yield _with_stretches(both_P3[np.argsort(both_P3[:, 0], kind="stable")], batch, before)
        before += len(batch.tokens_T)


def _with_stretches(pieces_P3: np.ndarray, batch: Batch, before: int) -> _Pieces:
    """Pieces (document, first token, end token) of a batch that has so many of the source's tokens before it."""
    documents_P, starts_P, ends_P = pieces_P3.T
    all_P = batch.all_trained_N[documents_P]  # these have one stretch, put behind the others, that never ends
    held_P = np.where(all_P, 1, np.diff(batch.span_edges_N1)[documents_P])
    spans_S = ranges(np.where(all_P, len(batch.span_starts_S), batch.span_edges_N1[documents_P]), held_P)
    owner_S = np.repeat(np.arange(len(pieces_P3)), held_P)
    first_S = np.maximum(np.append(batch.span_starts_S, 0)[spans_S] - starts_P[owner_S] - 1, 0)
    end_S = np.minimum(np.append(batch.span_ends_S, np.iinfo(np.int32).max)[spans_S], ends_P[owner_S])
    end_S -= starts_P[owner_S] + 1
    kept_S = first_S < end_S
    edges_P1 = np.concatenate([[0], np.cumsum(np.bincount(owner_S[kept_S], minlength=len(pieces_P3)))])
    offsets_P = batch.edges_N1[documents_P] + np.int64(before)
    pieces_P2 = np.stack([offsets_P + starts_P, offsets_P + ends_P], axis=1)
    return _Pieces(pieces_P2, np.stack([first_S, end_S], axis=1)[kept_S], edges_P1)


def _cut_document(batch: Batch, row: int, seq_len: int, turn: int, counts: Counter[str]) -> np.ndarray:
    tokens, spans = batch.document(row)
    starts = np.flatnonzero(tokens == turn)
    edges = [*(starts.tolist() if len(starts) and starts[0] == 0 else [0, *starts.tolist()]), len(tokens)]
    ends = list(pairwise(edges))
    trained = [spans is None or any(a < end and b > start for a, b in spans) for start, end in ends]
    pieces, left_out, untrained = cut_at_turns(edges, trained, seq_len)
    counts["cut"] += 1
    counts["turns_left_out"] += left_out
    counts["untrained_left_out"] += untrained
    return np.array([(row, start, end) for start, end in pieces if end - start > 1], np.int64).reshape(-1, 3)


def cut_at_turns(edges: list[int], trained: list[bool], seq_len: int) -> tuple[list[tuple[int, int]], int, int]:
    """Runs of whole turns that fit; turn i is [edges[i], edges[i + 1]) and holds trained tokens if trained[i].

    A run ends where the next turn would not fit, or earlier, if that spares the next run from opening with a reply
    whose question stayed behind. Returns the runs, how many turns were too long by themselves, and how many turns
    were left out because nothing in their run is trained.
    """
    runs: list[tuple[int, int]] = []
    too_long = untrained = 0
    first, turns = 0, len(trained)
    while first < turns:
        end = first
        while end < turns and edges[end + 1] - edges[first] - 1 <= seq_len:
            end += 1
        if end == first:
            too_long += 1
            first += 1
            continue
        if end < turns and edges[end + 1] - edges[end] - 1 <= seq_len:
            questions = (turn for turn in range(end, first, -1) if not trained[turn])
            end = next(questions, end)
        if any(trained[first:end]):
            runs.append((edges[first], edges[end]))
        else:
            untrained += end - first
        first = end
    return runs, too_long, untrained


def _windows(parts: Iterator[_Pieces]) -> Iterator[_Pieces]:
    """The same pieces, WINDOW at a time."""
    held = _Pieces(np.empty((0, 2), np.int64), np.empty((0, 2), np.int64), np.zeros(1, np.int64))
    for part in parts:
        held = held.followed_by(part)
        while (size := len(held.pieces_P2)) >= WINDOW:
            yield held.some(0, WINDOW)
            held = held.some(WINDOW, size)
    if len(held.pieces_P2):
        yield held


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class _Rows:
    """A window's part of a plan."""

    pieces_P2: np.ndarray
    trained_S2: np.ndarray
    edges_B2: np.ndarray


def _binned(window: _Pieces, seq_len: int) -> _Rows:
    """The window's pieces, row by row, and what is trained in each row."""
    sizes_P = window.pieces_P2[:, 1] - window.pieces_P2[:, 0] - 1
    bin_P = fitted(sizes_P, seq_len)
    order_P = np.argsort(bin_P, kind="stable")
    edges_B1 = np.concatenate([[0], np.cumsum(np.bincount(bin_P))])
    before_P1 = np.concatenate([[0], np.cumsum(sizes_P[order_P])])  # slots taken, over all rows
    at_P = before_P1[:-1] - np.repeat(before_P1[edges_B1[:-1]], np.diff(edges_B1))
    held_P = np.diff(window.edges_P1)[order_P]
    trained_S2 = window.trained_S2[ranges(window.edges_P1[order_P], held_P)] + np.repeat(at_P, held_P)[:, None]
    trained_edges_P1 = np.concatenate([[0], np.cumsum(held_P)])
    return _Rows(window.pieces_P2[order_P], trained_S2, np.stack([edges_B1, trained_edges_P1[edges_B1]], axis=1))
