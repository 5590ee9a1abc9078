"""Dialogues into rows of L, once: best fit within windows, nothing cut that fits. The plan is kept in files.

A source's dialogues come in; out come pieces (document, first token, end token), sorted by the bin they share, and
the bins' edges among them. A piece of n tokens takes n - 1 slots of a row: its inputs are all but its last token, its
targets all but its first. The plan depends on the shards and L alone; the order of the bins is the feed's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from utils.shards import Source
from utils.stage import read_json, whole, write_json

WINDOW = 100_000
"""Pieces that are binned together: bounds memory, and keeps neighbours of the stored order near each other."""

FORM = 1
"""Raise it when the plan of the same shards would come out different, so that no old plan is read."""


@dataclass(frozen=True)
class Plan:
    """P pieces in B bins, memory-mapped, and what became of the documents."""

    pieces_P3: np.ndarray
    edges_B1: np.ndarray  # bin b holds pieces_P3[edges_B1[b] : edges_B1[b + 1]]
    counts: dict[str, int]


def planned(source: Source, seq_len: int, turn: int, cache: Path) -> Plan:
    """The plan of a source, from `cache` if it was made before; `turn` is the id that opens a turn."""
    stem = f"{source.name}-{seq_len}-{source.identity}-{FORM}"
    names = [cache / f"{stem}.{part}.npy" for part in ("pieces", "edges")]
    note = cache / f"{stem}.json"  # written last
    if not note.is_file():
        plan = make_plan(source, seq_len, turn)
        for path, array in zip(names, (plan.pieces_P3, plan.edges_B1), strict=True):
            with whole(path) as draft, draft.open("wb") as file:
                np.save(file, array)
        write_json(note, plan.counts)
    pieces_P3, edges_B1 = (np.load(path, mmap_mode="r") for path in names)
    return Plan(pieces_P3, edges_B1, read_json(note))


def make_plan(source: Source, seq_len: int, turn: int) -> Plan:
    """Cut what is too long, bin the rest."""
    counts: Counter[str] = Counter(documents=source.documents)
    pieces, edges, bins = [np.empty((0, 3), np.int64)], [np.zeros(1, np.int64)], 0
    for window_W3 in _windows(_pieces(source, seq_len, turn, counts)):
        bin_W = best_fit(window_W3[:, 2] - window_W3[:, 1] - 1, seq_len)
        pieces.append(window_W3[np.argsort(bin_W, kind="stable")])
        edges.append(np.cumsum(np.bincount(bin_W)) + edges[-1][-1])
        bins += int(bin_W.max()) + 1
    pieces_P3 = np.concatenate(pieces)
    counts["slots"] = int((pieces_P3[:, 2] - pieces_P3[:, 1] - 1).sum())
    counts["sequences"] = bins
    names = ("documents", "cut", "turns_left_out", "untrained_left_out", "slots", "sequences")
    return Plan(pieces_P3, np.concatenate(edges), {name: counts[name] for name in names})


def _pieces(source: Source, seq_len: int, turn: int, counts: Counter[str]) -> Iterator[np.ndarray]:
    """Pieces in stored order, a shard's worth at a time."""
    first = 0
    for lengths_N in source.lengths():
        fits_N = lengths_N <= seq_len + 1
        documents_N = np.arange(first, first + len(lengths_N))
        whole_M3 = np.stack([documents_N, np.zeros_like(documents_N), lengths_N], axis=1)[fits_N & (lengths_N > 1)]
        cut = [_cut_document(source, int(document), seq_len, turn, counts) for document in documents_N[~fits_N]]
        both_P3 = np.concatenate([whole_M3, *cut])
        yield both_P3[np.argsort(both_P3[:, 0], kind="stable")]
        first += len(lengths_N)


def _cut_document(source: Source, document: int, seq_len: int, turn: int, counts: Counter[str]) -> np.ndarray:
    tokens, spans = source.document(document)
    starts = np.flatnonzero(tokens == turn)
    edges = [*(starts.tolist() if len(starts) and starts[0] == 0 else [0, *starts.tolist()]), len(tokens)]
    ends = list(pairwise(edges))
    trained = [spans is None or any(a < end and b > start for a, b in spans) for start, end in ends]
    pieces, left_out, untrained = cut_at_turns(edges, trained, seq_len)
    counts["cut"] += 1
    counts["turns_left_out"] += left_out
    counts["untrained_left_out"] += untrained
    return np.array([(document, start, end) for start, end in pieces], np.int64).reshape(-1, 3)


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


def _windows(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows, WINDOW at a time."""
    held_P3 = np.empty((0, 3), np.int64)
    for part in parts:
        held_P3 = np.concatenate([held_P3, part])
        while len(held_P3) >= WINDOW:
            yield held_P3[:WINDOW]
            held_P3 = held_P3[WINDOW:]
    if len(held_P3):
        yield held_P3


def best_fit(lengths_N: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each length: longest first, each into the fullest bin that still has room."""
    bin_N = np.empty(len(lengths_N), np.int64)
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # bins by the room they have left
    rooms = 0  # bit r: some bin has room r left; the lowest bit from `length` on is the tightest fit
    bins = 0
    for index in np.argsort(-lengths_N, kind="stable").tolist():
        length = int(lengths_N[index])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            number = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, number, bins = capacity, bins, bins + 1
        bin_N[index] = number
        if left := room - length:
            with_room[left].append(number)
            rooms |= 1 << left
    return bin_N
