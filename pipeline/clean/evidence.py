"""What a person wants to see of a cleaning: what was mended, what each rule dropped, what was taken for a copy.

Everything is drawn by hash, not by chance: the same corpus shows the same samples, however it was run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.clean.choose import Choice
from pipeline.clean.duplicates.corpus import Corpus
from pipeline.clean.duplicates.near import said_in
from pipeline.clean.parts import read_measures, read_rows
from pipeline.clean.rules import ALL, RULES, first_hits
from utils.arrays import numpy_of
from utils.records import Record
from utils.stage import Json

SAMPLES = 20
EXCERPT = 240
CHAR_EDGES = (0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, (1 << 31) - 1)
HAN_EDGES = tuple(i / 10 for i in range(11))


@dataclass(frozen=True)
class Evidence:
    """Where the records lie, what was decided of them, and whose they are."""

    corpus: Corpus
    choice: Choice
    sources: Sequence[str]
    """Beside the corpus's parts."""

    def source_of(self, row: int) -> str:
        """A row's source."""
        return self.sources[int(self.corpus.parts_of(np.array(row)))]

    def records(self, rows: Sequence[int]) -> dict[int, Record]:
        """Some records by their rows."""
        wanted = np.unique(np.array(rows, np.int64))
        first = self.corpus.first_rows()
        found = {}
        for part, within in self.corpus.split_rows(wanted):
            for row, record in read_rows(self.corpus.store, self.corpus.parts[part], within):
                found[row + int(first[part])] = record
        return found


def histograms(evidence: Evidence) -> Json:
    """By source: how many records of each length and share of Han characters, read and kept."""
    found: dict[str, Json] = {}
    first = evidence.corpus.first_rows()
    for number, part in enumerate(evidence.corpus.parts):
        measures = read_measures(evidence.corpus.store, part, ["chars", "han"])
        kept = evidence.choice.split[first[number] : first[number + 1]] >= 0
        mine = found.setdefault(evidence.sources[number], {"chars": {}, "han": {}})
        for name, edges in (("chars", CHAR_EDGES), ("han", HAN_EDGES)):
            values = np.minimum(numpy_of(measures[name]), edges[-1])
            for which, rows in (("read", slice(None)), ("kept", kept)):
                counts = np.histogram(values[rows], edges)[0]
                before = np.array(mine[name].get(which, [0] * len(counts)))
                mine[name][which] = (before + counts).tolist()
    return {"edges": {"chars": list(CHAR_EDGES[:-1]), "han": list(HAN_EDGES)}, "sources": found}


def dropped_samples(evidence: Evidence) -> dict[str, list[Json]]:
    """For each rule some of the records that it was the first to drop, with the value that did it."""
    keys = evidence.corpus.column("key")
    first = first_hits(evidence.choice.bits)
    drawn: dict[str, list[int]] = {}
    for number, rule in enumerate(ALL):
        hit = np.flatnonzero(first == number)
        if len(hit):
            nearest = min(SAMPLES, len(hit))
            drawn[rule] = hit[np.argpartition(keys[hit], nearest - 1)[:nearest]].tolist()
    records = evidence.records([row for rows in drawn.values() for row in rows])
    columns = {rule.name: rule.column for rule in RULES}
    found: dict[str, list[Json]] = {}
    for rule, rows in drawn.items():
        values = evidence.corpus.column(columns[rule]) if rule in columns else None
        found[rule] = [
            {
                "source": evidence.source_of(row),
                "value": None if values is None else _plain(values[row]),
                "text": excerpt(records[row]),
            }
            for row in sorted(rows, key=lambda row: int(keys[row]))
        ]
    return found


def gallery(evidence: Evidence, largest: int = 8, drawn: int = 16) -> list[Json]:
    """Clusters of near copies: the largest, and some drawn by hash; what stayed, and two of what went."""
    survival, choice = evidence.choice.near, evidence.choice
    if not len(survival.gone):
        return []
    stays = np.unique(survival.stays)
    by_size = stays[np.lexsort((stays, -choice.cluster_size[stays]))][:largest]
    keys = evidence.corpus.column("key")[stays]
    by_hash = stays[np.argsort(keys, kind="stable")][:drawn]
    shown = list(dict.fromkeys([*by_size.tolist(), *by_hash.tolist()]))
    gone = {row: survival.gone[survival.stays == row][:2].tolist() for row in shown}
    records = evidence.records([*shown, *(row for rows in gone.values() for row in rows)])
    return [
        {
            "source": evidence.source_of(row),
            "size": int(choice.cluster_size[row]),
            "stays": excerpt(records[row], 600),
            "gone": [excerpt(records[other], 600) for other in gone[row]],
        }
        for row in shown
    ]


def excerpt(record: Record, length: int = EXCERPT) -> str:
    """How a record begins: a dialogue by its turns."""
    said = said_in(record)
    return said if len(said) <= length else said[: length - 1] + "…"


def _plain(value: object) -> float | bool | None:
    if isinstance(value, np.bool_):
        return bool(value)
    number = float(value)  # type: ignore[arg-type]
    return None if np.isnan(number) else round(number, 4)
