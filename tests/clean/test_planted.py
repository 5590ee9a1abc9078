"""Near copies planted in a corpus and looked for by the whole stage: how many are found, and what goes for nothing.

`pytest tests/clean/test_planted.py -rP` prints the figures.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import CleanConfig, Input, Rules
from pipeline.clean.stage import run
from tests.clean.real import real
from tests.clean.test_clean import adds_up, content, records, write_jsonl
from tests.clean.test_duplicates import jaccard, said
from utils.records import SPLITS
from utils.stage import read_json

CLASSICS = "classics_bitext.parquet"
Texts = Callable[[random.Random, int, int, int], list[str]]


# ---------------------------------------------------------------- texts that have nothing to do with each other


@cache
def classic_lines() -> list[list[str]]:
    """The modern lines of the first chapters, chapter by chapter; enough for a few million characters."""
    chapters: list[list[str]] = []
    before = None
    file = pq.ParquetFile(real(CLASSICS))
    for batch in file.iter_batches(65536, columns=["book", "chapter", "modern"]):
        for row in batch.to_pylist():
            if (row["book"], row["chapter"]) != before:
                before = row["book"], row["chapter"]
                chapters.append([])
            chapters[-1].append(row["modern"])
        if sum(map(len, chapters)) > 120_000:
            break
    return chapters


def classics(rng: random.Random, count: int, low: int, high: int) -> list[str]:
    """Documents of the classics in modern Chinese: lines in their order, until the length is reached."""
    found: list[str] = []
    for chapter in classic_lines():
        held, wanted = "", length(rng, low, high)
        for line in chapter:
            held += line
            if len(held) >= wanted:
                found.append(held[:high])
                held, wanted = "", length(rng, low, high)
        if len(found) >= count:
            return found[:count]
    raise AssertionError(f"only {len(found)} documents")


def made_up(rng: random.Random, count: int, low: int, high: int) -> list[str]:
    """Nonsense in which, as in Chinese, few characters are most of the text."""
    characters = [chr(0x4E00 + n) for n in range(2000)]
    weights = [1 / (n + 3) for n in range(2000)]
    found = []
    for _ in range(count):
        size = length(rng, low, high)
        drawn = rng.choices(characters, weights, k=size)
        for at in range(rng.randrange(8, 20), size, rng.randrange(8, 20)):
            drawn[at] = rng.choice("，，。！？")
        found.append("".join(drawn))
    return found


def length(rng: random.Random, low: int, high: int) -> int:
    """As many short texts as long ones, on a logarithmic scale."""
    return round(low * (high / low) ** rng.random())


SOURCES = [pytest.param(classics, id="classics"), pytest.param(made_up, id="made up")]


# ---------------------------------------------------------------- edits


def one_edit(rng: random.Random, text: str, share: float, other: str) -> str:
    """A run of characters replaced by another text's, put in, or taken out."""
    size = max(round(share * len(text)), 1)
    at = rng.randrange(len(text) - size + 1)
    how = rng.choice(["replace", "insert", "delete"])
    new = "" if how == "delete" else (other * (size // len(other) + 1))[:size]
    return text[:at] + new + text[at + (0 if how == "insert" else size) :]


def scattered_edits(rng: random.Random, text: str, share: float, other: str) -> str:
    """Single characters all over the text, each replaced, doubled by another or taken out."""
    characters = list(text)
    for at in rng.sample(range(len(text)), max(round(share * len(text)), 1)):
        characters[at] = rng.choice([rng.choice(other), characters[at] + rng.choice(other), ""])
    return "".join(characters)


def similarity(a: str, b: str) -> float:
    """Jaccard's, of what two texts say."""
    return jaccard(said(a), said(b))


# ---------------------------------------------------------------- a corpus, and what became of it


@dataclass
class Corpus:
    """Texts in two files; which of them are copies, and of what."""

    texts: list[str]
    rng: random.Random
    origin: dict[int, int] = field(default_factory=dict)
    """Number of a planted near copy: number of what it was made from."""

    def plant(self, count: int, edit: Callable[..., str], low: float, high: float) -> None:
        """Near copies of different originals."""
        originals = self.rng.sample(range(self.first_copy), count)
        for number in originals:
            copy = original = self.texts[number]
            while said(copy) == said(original):
                copy = edit(self.rng, original, self.rng.uniform(low, high), self.texts[number - 1])
            self.origin[len(self.texts)] = number
            self.texts.append(copy)

    @property
    def first_copy(self) -> int:
        """Behind the originals."""
        return min(self.origin, default=len(self.texts))

    def write(self, folder: Path) -> list[Input]:
        """Two sources; originals and copies lie in both, every copy behind its original."""
        half = len(self.texts) // 2
        for name, start, end in (("a", 0, half), ("b", half, len(self.texts))):
            write_jsonl(folder / f"{name}.jsonl", [{"text": text} for text in self.texts[start:end]])
        return [Input(str(folder / f"{name}.jsonl"), profile="light") for name in "ab"]

    def number(self, record_id: str) -> int:
        """Which text that is."""
        source, _, ordinal = record_id.split("/")
        return int(ordinal) + (len(self.texts) // 2 if source == "b" else 0)


@dataclass
class Outcome:
    """What the stage kept, and how many records each of that stands for."""

    cluster_sizes: dict[int, int]
    gone: set[int]


def cleaned(corpus: Corpus, folder: Path, near: float) -> Outcome:
    """Run the stage; nothing but near copies may go."""
    folder.mkdir(exist_ok=True)
    config = CleanConfig(inputs=corpus.write(folder), near=near, simplify=False, keep_features=False)
    output = folder / f"clean-{near}"
    run(config, output)
    report = read_json(output / "report.json")
    adds_up(report)
    kept = {corpus.number(record["id"]): record["cluster_size"] for record in records(output)}
    gone = set(range(len(corpus.texts))) - kept.keys()
    assert report["dropped"] == {"near_duplicate": len(gone)}
    assert sum(kept.values()) == report["read"] == len(corpus.texts)
    return Outcome(kept, gone)


def closest_kept(corpus: Corpus, outcome: Outcome, gone: Sequence[int]) -> list[float]:
    """Of some texts that went the true similarity to the likest that stayed, the first having been read before."""
    holders: dict[str, set[int]] = {}
    for number in gone:
        for shingle in shingles(corpus.texts[number]):
            holders.setdefault(shingle, set()).add(number)
    shared: dict[int, Counter[int]] = {number: Counter() for number in gone}
    for kept in outcome.cluster_sizes:
        for shingle in shingles(corpus.texts[kept]) & holders.keys():
            for number in holders[shingle]:
                if kept < number:
                    shared[number][kept] += 1
    likest = {n: [kept for kept, _ in counts.most_common(3)] for n, counts in shared.items()}
    return [max((similarity(corpus.texts[n], corpus.texts[k]) for k in likest[n]), default=0.0) for n in gone]


def shingles(text: str) -> set[str]:
    """Every five characters in a row of what it says."""
    words = said(text)
    return {words[i : i + 5] for i in range(len(words) - 4)}


def truly_similar(corpus: Corpus, planted: Sequence[int], near: float) -> list[int]:
    """Those of the planted copies that are as similar to their originals as was asked for."""
    return [n for n in planted if similarity(corpus.texts[n], corpus.texts[corpus.origin[n]]) >= near]


def recall(outcome: Outcome, wanted: Sequence[int]) -> float:
    """Of these, how many went."""
    return len(outcome.gone.intersection(wanted)) / max(len(wanted), 1)


def precision(corpus: Corpus, outcome: Outcome, near: float, planted: Sequence[int]) -> float:
    """Of what went, how much was planted, or is as similar to something that stayed as was asked for."""
    others = sorted(outcome.gone.difference(planted))
    wrong = sum(value < near - 1e-9 for value in closest_kept(corpus, outcome, others))
    return 1 - wrong / max(len(outcome.gone), 1)


# ---------------------------------------------------------------- long texts, one edit


@pytest.mark.parametrize("near", [0.7, 0.8])
@pytest.mark.parametrize("texts", SOURCES)
def test_one_edit_in_a_long_text(tmp_path: Path, texts: Texts, near: float) -> None:
    rng = random.Random(11)
    big = texts is classics
    corpus = Corpus(texts(rng, 1900 if big else 500, 200, 1500 if big else 600), rng)
    corpus.plant(900 if big else 240, one_edit, 0.01, 0.10)
    planted = list(corpus.origin)
    corpus.plant(200 if big else 60, one_edit, 0.15, 0.40)  # alike, and mostly not alike enough
    outcome = cleaned(corpus, tmp_path / "run", near)
    of_all, of_true = recall(outcome, planted), recall(outcome, truly_similar(corpus, planted, near))
    right = precision(corpus, outcome, near, planted)
    print(
        f"{len(corpus.texts)} documents, {len(planted)} planted, near={near}: recall {of_all:.4f} "
        f"(of those truly >= {near}: {of_true:.4f}), precision {right:.4f}"
    )
    assert of_all >= 0.95
    assert of_true >= 0.97
    assert right >= 0.99
    every = closest_kept(corpus, outcome, sorted(outcome.gone))
    assert min(every) >= near - 1e-9  # what goes is always like something that stays
    assert not outcome.gone & set(corpus.origin.values())  # and that was read before


def test_nothing_goes_where_nothing_was_planted(tmp_path: Path) -> None:
    rng = random.Random(4)
    corpus = Corpus(made_up(rng, 400, 30, 600), rng)
    run(CleanConfig(inputs=corpus.write(tmp_path), near=0.7, simplify=False), tmp_path / "clean")
    assert read_json(tmp_path / "clean" / "report.json")["dropped"] == {}


# ---------------------------------------------------------------- what is hard: told, not promised

SHARES = ((0.02, 0.05), (0.05, 0.10), (0.10, 0.20))
LENGTHS = ((20, 38), (38, 50), (50, 80), (80, 120), (120, 200))


@pytest.mark.parametrize("texts", SOURCES)
def test_scattered_edits_are_measured(tmp_path: Path, texts: Texts) -> None:
    """Five characters in a row hardly survive: 5 % of single edits leave a similarity of about 0.6."""
    rng = random.Random(12)
    corpus = Corpus(texts(rng, 450, 200, 900), rng)
    groups = {}
    for low, high in SHARES:
        before = len(corpus.texts)
        corpus.plant(100, scattered_edits, low, high)
        groups[f"{low:.0%} to {high:.0%} of the characters, one by one"] = range(before, len(corpus.texts))
    for near in (0.5, 0.7, 0.8):
        tell(corpus, cleaned(corpus, tmp_path / "run", near), near, groups)


@pytest.mark.parametrize("texts", SOURCES)
def test_short_texts_are_measured(tmp_path: Path, texts: Texts) -> None:
    rng = random.Random(13)
    originals = {said(text): text for text in texts(rng, 1400, LENGTHS[0][0], LENGTHS[-1][1])}
    corpus = Corpus(list(originals.values()), rng)
    corpus.plant(len(originals) // 2, one_edit, 0.01, 0.10)
    groups = {
        f"{low} to {high} characters, one edit": [
            copy for copy, origin in corpus.origin.items() if low <= len(corpus.texts[origin]) < high
        ]
        for low, high in LENGTHS
    }
    for near in (0.7, 0.8):
        tell(corpus, cleaned(corpus, tmp_path / "run", near), near, groups)


def tell(corpus: Corpus, outcome: Outcome, near: float, groups: Mapping[str, Sequence[int]]) -> None:
    """Print the figures; they are numbers, and what went had reason to."""
    right = precision(corpus, outcome, near, list(corpus.origin))
    for what, planted in groups.items():
        true = truly_similar(corpus, planted, near)
        of_all, of_true = recall(outcome, planted), recall(outcome, true)
        print(
            f"{what}, near={near}: of {len(planted)} planted {len(true)} are truly that similar; "
            f"recall {of_all:.3f}, of the truly similar {of_true:.3f}; precision {right:.4f}"
        )
        assert planted
    assert right >= 0.99


# ---------------------------------------------------------------- who stays, and for how many


def crowd(rng: random.Random) -> tuple[list[str], dict[int, list[int]]]:
    """Originals, and behind them for each some near copies, exact ones, and exact ones of near ones; mixed."""
    originals = made_up(rng, 60, 250, 500)
    copies = []
    for number, text in enumerate(originals):
        for _ in range(number % 4):
            near = one_edit(rng, text, 0.02, originals[(number + 1) % 60])
            copies += [(number, one) for one in (near, near, text)[: 1 + number % 3]]
    rng.shuffle(copies)
    of = {number: [60 + n for n, (owner, _) in enumerate(copies) if owner == number] for number in range(60)}
    return [*originals, *(text for _, text in copies)], of


def test_the_first_read_stays_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across two sources, and however the work is cut."""
    rng = random.Random(6)
    texts, of = crowd(rng)
    corpus = Corpus(texts, rng)
    config = CleanConfig(inputs=corpus.write(tmp_path), near=0.7, simplify=False, keep_features=False)
    run(config, tmp_path / "clean")
    report = read_json(tmp_path / "clean" / "report.json")
    adds_up(report)
    kept = {corpus.number(record["id"]): record["cluster_size"] for record in records(tmp_path / "clean")}
    assert kept == {number: 1 + len(copies) for number, copies in of.items()}
    assert set(report["dropped"]) == {"duplicate", "near_duplicate"}
    assert sum(kept.values()) == report["kept"] + report["dropped"]["duplicate"] + report["dropped"]["near_duplicate"]
    assert report["sources"]["b"]["dropped"]["near_duplicate"]
    monkeypatch.setattr("pipeline.clean.stage.PIECE_BYTES", 9000)
    monkeypatch.setattr("pipeline.clean.choose.ROWS_AT_ONCE", 40)
    monkeypatch.setattr("pipeline.clean.choose.CHARACTERS_AT_ONCE", 5000)
    run(config, tmp_path / "cut")
    names = [name for name in content(tmp_path / "clean") if name.startswith(SPLITS)]
    assert names
    assert {n: content(tmp_path / "clean")[n] for n in names} == {n: content(tmp_path / "cut")[n] for n in names}


def test_a_source_that_compares_none_keeps_them_all(tmp_path: Path) -> None:
    """And nothing goes for what stands there."""
    rng = random.Random(8)
    corpus = Corpus(list(dict.fromkeys(crowd(rng)[0])), rng)
    first, second = corpus.write(tmp_path)
    free = dataclasses.replace(second, rules=Rules(near="off"))
    dropped = []
    for name, inputs in (("both", [first, second]), ("one", [first, free]), ("turned", [free, first])):
        run(CleanConfig(inputs=inputs, near=0.7, simplify=False), tmp_path / name)
        sources = read_json(tmp_path / name / "report.json")["sources"]
        dropped.append([sources[source]["dropped"].get("near_duplicate", 0) for source in "ab"])
    alone = dropped[0][0]
    assert dropped[0][1] > 20
    assert dropped[1:] == [[alone, 0], [alone, 0]]


def test_siblings_of_a_copy_stand_where_its_original_does(tmp_path: Path) -> None:
    """A copy that went was asked otherwise; the other answers to its question follow it."""
    rng = random.Random(7)
    answers, others = made_up(rng, 150, 300, 500), made_up(rng, 300, 40, 200)
    rows = []
    for n, answer in enumerate(answers):
        copy = one_edit(rng, answer, 0.02, others[n])
        rows += [
            ("a", f"第{n}个问题？", answer),
            ("a", f"第{n}个问题", others[2 * n]),
            ("b", f"再问一次{n}", copy),
            ("b", f"再问一次：{n}！", others[2 * n + 1]),
        ]
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", [{"question": q, "answer": a} for s, q, a in rows if s == name])
    inputs = [Input(str(tmp_path / f"{name}.jsonl")) for name in "ab"]
    splits: dict[float | str, dict[str, tuple[str, str]]] = {}
    for near in ("off", 0.7):
        run(CleanConfig(inputs=inputs, near=near, valid=0.3, test=0.2, simplify=False), tmp_path / str(near))
        splits[near] = {
            record["messages"][1]["content"]: (split, record["group"])
            for split in SPLITS
            for record in records(tmp_path / str(near), split)
        }
    apart = [splits["off"][answers[n]] == splits["off"][others[2 * n + 1]] for n in range(150)]
    assert not any(apart)  # without comparing they are strangers
    assert sum(splits["off"][answers[n]][0] != splits["off"][others[2 * n + 1]][0] for n in range(150)) > 50
    assert len(splits[0.7]) == 450
    for n, answer in enumerate(answers):
        assert splits[0.7][answer] == splits[0.7][others[2 * n]] == splits[0.7][others[2 * n + 1]]
    assert len({group for _, group in splits[0.7].values()}) == 150
