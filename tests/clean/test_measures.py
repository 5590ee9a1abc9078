"""Every measure against what a person would count by hand, record by record; and none depends on its neighbours."""

from __future__ import annotations

import itertools
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.batch import Batch
from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.exams import NO_EXAMS, Exams, read_exams
from pipeline.clean.measure import LEAST_FOR_GRAMS, Measured, measure
from pipeline.clean.parts import MEASURES
from pipeline.clean.protocol import Found, Message, message, pair
from pipeline.clean.stage import run
from pipeline.clean.text import flags, phrases, swaps
from utils.stage import manifest

EXACT_FROM = 0.12
"""Shares of frequent grams are told exactly from here on."""
LONG, FOREIGN = 13, 40
"""Characters in a row that no record may share with an exam, with and without Han characters among them."""
NOBODY = 1 << 30
"""The shortest reply where nobody replies."""
SEED, SOURCE = 7, "web"

QUESTIONS = (
    "下列哪一项不是光合作用所需要的条件？",
    "水的沸点是",
    "Which of the following organs produces insulin in the human body?",
)


# ---------------------------------------------------------------- records of every kind

LETTERS = [*"天地玄黄的是aBzÉ09 1，。！？!?…#＃、\t-|", "😀", "𠀀", "〇", "ａ", "é", "\u3000", "\n"]
WORDS = [
    "天地玄黄",
    "哈哈哈哈哈哈哈哈",
    "abcabcabc",
    "又是一行\n",
    "  \n",
    "。\n\n",
    "点击关注",
    "扫描二维码关注",
    "傻逼",
    "对症救治",
    "注意不定期留意饮食",
    "| 甲 | 乙 |\n",
    "|---|:--:|\n",
    "+---+===+\n",
    "┌──┬──┐",
    "做成表格",
    "制成表",
    "画一张表",
    "机制表达",
    "create a nice table",
    "table of contents",
    "请把这句翻译成英文",
    "翻译家",
    "英译汉",
    "Translate this",
    "translate to more",
    "译为",
    *QUESTIONS,
    QUESTIONS[0][:LONG],
    QUESTIONS[0][1:LONG],
]
TEXTS = st.builds(
    lambda pieces, times: "".join(pieces) * times,
    st.lists(st.sampled_from(LETTERS) | st.sampled_from(WORDS), max_size=14),
    st.sampled_from([1, 1, 1, 1, 2, 7]),
)
CALLS = st.sampled_from([None, None, None, '[{"name": "f", "arguments": {}}]', '[{"name": "g", "arguments": {}}]'])


@st.composite
def turns(draw: st.DrawFn, opened: bool, closed: bool = True) -> list[Message]:
    """What people say one after another; `opened` by a user, `closed` by an assistant."""
    found = []
    if opened and draw(st.integers(0, 3)) == 0:
        found.append(message("system", draw(TEXTS)))
    for number in range(draw(st.integers(1, 3))):
        if opened or number:
            found.append(message("user", draw(TEXTS)))
        while True:
            found.append(message("assistant", draw(TEXTS), draw(st.none() | TEXTS), draw(CALLS)))
            if draw(st.integers(0, 3)):
                break
            found.append(message("tool", draw(TEXTS)))
    return found if closed else [*found, message("user", draw(TEXTS))]


@st.composite
def records(draw: st.DrawFn) -> Found:
    """A text, a dialogue or a preference."""
    told: dict[str, Any] = {
        "siblings": draw(st.sampled_from(["", "", "", "a.txt/1", "a.txt/2"])),
        "score": draw(st.none() | st.integers(-3, 3000) | st.floats(-1, 1)),
        "tools": draw(st.sampled_from([None, None, '[{"name": "f"}]', '[{"name": "g"}]'])),
    }
    kind = draw(st.integers(0, 5))
    if kind < 2:
        return Found(text=draw(TEXTS), **told | {"tools": None})
    if kind < 5:
        return Found(messages=draw(turns(opened=True)), **told)
    before = draw(st.just([message("user", draw(TEXTS))]) | turns(opened=True, closed=False))
    chosen, rejected = (draw(turns(opened=False)) for _ in range(2))
    return Found(messages=before, chosen=chosen, rejected=rejected, **told)


BATCHES = st.lists(records(), min_size=1, max_size=7)


def measured(found: Sequence[Found], exams: Exams = NO_EXAMS, first: int = 0) -> Measured:
    batch = Batch()
    for ordinal, one in enumerate(found, first):
        batch.add(one, ordinal)
    return measure(batch, SEED, SOURCE, exams)


def columns(found: Sequence[Found], exams: Exams = NO_EXAMS) -> dict[str, list[Any]]:
    return measured(found, exams).columns.to_pydict()


# ---------------------------------------------------------------- by hand


def all_turns(found: Found) -> list[Message]:
    return [turn for some in (found.messages, found.chosen, found.rejected) for turn in some or ()]


def said(found: Found) -> list[str]:
    """Every text of a record."""
    if found.messages is None:
        return [found.text or ""]
    return [text for turn in all_turns(found) for text in (turn["content"], turn["reasoning"]) if text is not None]


def asked(found: Found) -> list[str]:
    return [turn["content"] for turn in all_turns(found) if turn["role"] == "user"]


def answered(found: Found) -> list[str]:
    """Replies that are to be learned; a call is none."""
    return [turn["content"] for turn in all_turns(found) if turn["role"] == "assistant" and not turn["tool_calls"]]


def required(found: Found) -> list[str]:
    return answered(found) if found.messages is not None else [found.text or ""]


def is_han(c: str) -> bool:
    return c == "〇" or unicodedata.name(c, "").startswith("CJK UNIFIED IDEOGRAPH")


def is_latin(c: str) -> bool:
    return unicodedata.name(c, "").startswith("LATIN")


def words(text: str) -> str:
    """What a text says, whatever its marks, spaces and capitals."""
    return "".join(c.lower() if c.isascii() else c for c in text if c.isalnum())


def repeated(text: str) -> int:
    """Characters in lines that stood before."""
    lines = [line for line in text.split("\n") if line.strip()]
    return sum(len(line) for number, line in enumerate(lines) if line in lines[:number])


def top(found: Found, width: int) -> float:
    """The share of the most frequent characters in a row, which no line end parts."""
    chars = sum(map(len, said(found)))
    lines = [line for text in said(found) for line in text.split("\n")]
    grams = Counter(line[i : i + width] for line in lines for i in range(len(line) - width + 1))
    most = max(grams.values(), default=0)
    return min(most * width / chars, 1.0) if chars >= LEAST_FOR_GRAMS else 0.0


@cache
def any_of(listed: str) -> re.Pattern[str]:
    known = {"ads": lambda: phrases.read_words(phrases.WORDS / "ads.txt"), "swaps": swaps.swaps}
    known["tails"] = lambda: phrases.read_words(phrases.WORDS / "tails.txt")
    known["vulgar"] = lambda: phrases.read_words(phrases.WORDS / "vulgar.txt")
    return re.compile("|".join(re.escape(one) for one in sorted(known[listed](), key=len, reverse=True)))


def count(listed: str, found: Found) -> int:
    return sum(len(any_of(listed).findall(text)) for text in said(found))


def matches(texts: Sequence[str], *patterns: re.Pattern[str]) -> bool:
    return any(pattern.search(text) for text in texts for pattern in patterns)


def runs(text: str, width: int, wants_han: bool) -> set[str]:
    every = (text[i : i + width] for i in range(len(text) - width + 1))
    return {run for run in every if any(map(is_han, run)) == wants_han}


def leaks(text: str) -> bool:
    """Does it share characters in a row with an exam, or is it a short question of one?"""
    mine = words(text)
    for question in map(words, QUESTIONS):
        long, foreign = runs(question, LONG, True), runs(question, FOREIGN, False)
        if long & runs(mine, LONG, True) or foreign & runs(mine, FOREIGN, False):
            return True
        if not long and not foreign and mine == question:
            return True
    return False


def splitmix(value: int) -> int:
    mask = (1 << 64) - 1
    h = (value + 0x9E3779B97F4A7C15) & mask
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & mask
    h = (h ^ h >> 27) * 0x94D049BB133111EB & mask
    return h ^ h >> 31


def by_hand(found: Found) -> dict[str, Any]:
    """Each measure that is a count, a share or a flag."""
    text = "".join(said(found))
    chars, han = len(text), sum(map(is_han, text))
    return {
        "chars": chars,
        "bytes": len(text.encode()),
        "shortest": min(map(len, required(found)), default=NOBODY),
        "blank": "" in [*required(found), *asked(found)],
        "score": found.score,
        "han": han / max(han + sum(map(is_latin, text)), 1),
        "digits": sum(c in "0123456789" for c in text) / max(chars, 1),
        "symbols": sum(c in "#＃…" for c in text) / max(chars, 1),
        "repeated_lines": sum(map(repeated, said(found))) / max(chars, 1),
        "sentences": sum(c in "。！？!?…" for c in text),
        "ads": count("ads", found),
        "vulgar": count("vulgar", found),
        "swaps": count("swaps", found) * 100 / max(chars, 1),
        "tail": any(any_of("tails").search(text[-150:]) for text in required(found)),
        "table": matches(said(found), flags._RULE, flags._ROWS, flags._DRAWN)
        or matches(asked(found), flags._TABLE_ASKED),
        "translation": matches(asked(found), flags._TRANSLATION_ASKED),
        "leaked": any(map(leaks, said(found))),
    }


def saying(found: Found) -> Any:
    """What a record says, as something that can be compared."""
    if found.messages is None:
        return found.text
    listed = [
        tuple((turn["role"], turn["content"], turn["reasoning"] or None, turn["tool_calls"]) for turn in some or ())
        for some in (found.messages, found.chosen, found.rejected)
    ]
    return (*listed, found.tools or None)


def group(found: Found) -> Any:
    if found.siblings:
        return "document", found.siblings
    return ("question", words(asked(found)[0]) or repr(asked(found)[0])) if asked(found) else ("whole", saying(found))


def answer(found: Found) -> Any:
    said_first = answered(found)
    return ("answer", words(said_first[0]) or repr(said_first[0])) if said_first else ("whole", saying(found))


def same_exactly_where(hashes: Sequence[Any], meant: Sequence[Any]) -> None:
    for a, b in itertools.combinations(range(len(meant)), 2):
        assert (hashes[a] == hashes[b]) == (meant[a] == meant[b]), (meant[a], meant[b])


# ---------------------------------------------------------------- the measures


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Exams:
    path = tmp_path_factory.mktemp("exams") / "exam.txt"
    path.write_text("\n".join(QUESTIONS), encoding="utf-8")
    return read_exams([str(path)])


@settings(deadline=None, max_examples=150)
@given(found=BATCHES)
def test_measures_are_what_one_counts_by_hand(found: list[Found], exams: Exams) -> None:
    made = columns(found, exams)
    assert made["ordinal"] == list(range(len(found)))
    wanted = [by_hand(one) for one in found]
    checked = {"ordinal", "key", "hash_a", "hash_b", "group", "answer", "top_2gram", "top_3gram", "top_4gram"}
    assert checked | wanted[0].keys() == set(MEASURES.names)
    for name in wanted[0]:
        expected = [np.nan if one[name] is None else one[name] for one in wanted]
        assert made[name] == pytest.approx(expected, rel=1e-5, nan_ok=True), name
    mixed = splitmix(SEED)
    assert made["key"] == [splitmix(low ^ mixed) for low in made["hash_a"]]


@settings(deadline=None, max_examples=150)
@given(BATCHES)
def test_frequent_grams_are_exact_and_rare_ones_never_told_too_low(found: list[Found]) -> None:
    made = columns(found)
    for width in (2, 3, 4):
        for told, one in zip(made[f"top_{width}gram"], found, strict=True):
            true = top(one, width)
            if true >= EXACT_FROM:
                assert told == pytest.approx(true, rel=1e-5)
            else:
                assert true * (1 - 1e-5) <= told < EXACT_FROM


@pytest.mark.parametrize("repeated_piece", ["哈", "哈喽", "一二三", "天地玄黄", "\n", "😀", "a "])
@pytest.mark.parametrize("length", [LEAST_FOR_GRAMS - 1, LEAST_FOR_GRAMS, 1000, 40_000])
def test_grams_of_text_that_says_one_thing(repeated_piece: str, length: int) -> None:
    found = Found(text=(repeated_piece * length)[:length])
    made = columns([found])
    for width in (2, 3, 4):
        assert made[f"top_{width}gram"] == [pytest.approx(top(found, width), rel=1e-5)]


def test_grams_of_long_texts() -> None:
    rng = random.Random(0)
    found = []
    for share in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5):
        characters = [chr(0x4E00 + rng.randrange(3000)) for _ in range(20_000)]
        for at in range(0, len(characters), 4):
            if rng.random() < share:
                characters[at : at + 4] = "点击关注"
        found.append(Found(text="".join(characters)))
    made = columns(found)
    for width in (2, 3, 4):
        true = [top(one, width) for one in found]
        assert true == sorted(true)
        assert true[0] < 0.001
        assert true[-1] > EXACT_FROM
        for told, wanted in zip(made[f"top_{width}gram"], true, strict=True):
            assert told == pytest.approx(wanted, rel=1e-5) if wanted >= EXACT_FROM else wanted <= told < EXACT_FROM
        assert made[f"top_{width}gram"][0] < 0.02


@pytest.mark.parametrize("question", ["请把这些数据列成表", "Tabular form, please", "MAKE A TABLE OF IT"])
def test_whoever_asks_for_a_table_is_heard(question: str) -> None:
    assert flags._TABLE_ASKED.search(question)
    assert columns([pair(question, "好")])["table"] == [True]


def cut_to(question: str, start: int, size: int) -> str:
    """So many of a question's words, in capitals, with marks among them."""
    return "，".join(words(question)[start : start + size]).upper()


@pytest.mark.parametrize(("question", "width"), [(QUESTIONS[0], LONG), (QUESTIONS[2], FOREIGN)])
def test_a_run_of_an_exam_is_found_wherever_it_stands(exams: Exams, question: str, width: int) -> None:
    """At the very beginning and the very end of a field; and not where a field or a record ends within it."""
    other = "別" if width == LONG else "zz "
    for start in range(0, len(words(question)) - width + 1, 3):
        run_of, short = cut_to(question, start, width), cut_to(question, start, width - 1)
        held = [Found(text=text) for text in (run_of, other + run_of, run_of + other, other + run_of + other)]
        held += [pair(other, run_of), pair(run_of, other), pair(other, other + run_of)]
        free = [Found(text=text) for text in (short, other + short, short + other)]
        half = width // 2
        free += [Found(text=cut_to(question, start, half)), Found(text=cut_to(question, start + half, width - half))]
        free += [pair(cut_to(question, start, half), cut_to(question, start + half, width - half))]
        assert columns([*held, *free], exams)["leaked"] == [True] * len(held) + [False] * len(free)
        assert columns([*free, *held], exams)["leaked"] == [False] * len(free) + [True] * len(held)


# ---------------------------------------------------------------- what is the same


@settings(deadline=None, max_examples=150)
@given(BATCHES)
def test_records_are_the_same_exactly_if_they_say_the_same(found: list[Found]) -> None:
    made = columns(found)
    same_exactly_where(list(zip(made["hash_a"], made["hash_b"], strict=True)), [saying(one) for one in found])
    same_exactly_where(made["hash_a"], [saying(one) for one in found])


def variants(turn: Message, others: Sequence[Message]) -> list[list[Message]]:
    """A question with answers that are as good as the same, and are not."""
    return [
        [*others, turn],
        [*others, turn | {"content": turn["content"] + "。"}],
        [*others, turn | {"content": "", "reasoning": turn["content"]}],
        [*others, turn | {"reasoning": "想"}],
        [*others, turn | {"tool_calls": '[{"name": "f", "arguments": {}}]'}],
        [*others, turn | {"tool_calls": '[{"name": "g", "arguments": {}}]'}],
        [*others, message("assistant", "好"), message("tool", "三"), turn],
        [*others, message("assistant", "好"), message("user", "三"), turn],
        [message("system", "三"), *others, turn],
        [message("system", ""), *others, turn],
        [*others, turn, message("user", ""), message("assistant", "")],
    ]


def test_roles_calls_tools_and_reasoning_are_part_of_what_is_said() -> None:
    question, reply = message("user", "几？"), message("assistant", "三")
    found = [Found(messages=one) for one in variants(reply, [question])]
    found += [Found(messages=[question, reply], tools=tools) for tools in ('[{"name": "f"}]', '[{"name": "g"}]')]
    found += [Found(text=text) for text in ("几？", "三", "几？三", "")]
    worse = message("assistant", "四")
    found += [
        Found(messages=[question], chosen=[reply], rejected=[worse]),
        Found(messages=[question], chosen=[worse], rejected=[reply]),
        Found(messages=[question, reply, question], chosen=[reply], rejected=[worse]),
        Found(messages=[question], chosen=[reply, question, reply], rejected=[worse]),
        Found(messages=[question], chosen=[reply], rejected=[reply, question, worse]),
    ]
    assert len(set(map(str, map(saying, found)))) == len(found)
    made = columns([*found, *found])
    same_exactly_where(made["hash_a"], [*range(len(found)), *range(len(found))])
    for number, one in enumerate(found):  # alone, and before and behind all others
        assert columns([one])["hash_a"] == [made["hash_a"][number]], one
        assert columns([*found, one])["hash_a"][-1] == made["hash_a"][number]


def test_scores_siblings_and_meta_are_no_part_of_what_is_said() -> None:
    bare, told = pair("问", "答"), pair("问", "答", {"url": "x"}, 7.0)
    told.siblings = "a/1"
    made = columns([bare, told])
    assert made["hash_a"][0] == made["hash_a"][1]
    assert made["group"][0] != made["group"][1]


@settings(deadline=None, max_examples=150)
@given(BATCHES)
def test_groups_and_answers_are_known_by_their_words(found: list[Found]) -> None:
    made = columns(found)
    same_exactly_where(made["group"], [group(one) for one in found])
    same_exactly_where(made["answer"], [answer(one) for one in found])


ALIKE = ("Yaya是什么", "yaya 是什么？", "“YAYA”…是什么?!", " Yaya\n是什么。")
UNLIKE = ("Yaya是什莫", "Yaya是什么2", "Yaya", "？", "。", "")


def test_punctuation_case_and_spaces_make_no_other_question_or_answer() -> None:
    asked_so = columns([pair(question, f"答{n}") for n, question in enumerate((*ALIKE, *UNLIKE))])
    told_so = columns([pair(f"问{n}", reply) for n, reply in enumerate((*ALIKE, *UNLIKE))])
    for one, other in ((asked_so["group"], asked_so["answer"]), (told_so["answer"], told_so["group"])):
        assert len(set(one[: len(ALIKE)])) == 1
        assert len(set(one)) == 1 + len(UNLIKE)
        assert len(set(other)) == len(ALIKE) + len(UNLIKE)


def test_the_first_question_and_the_first_answer_count() -> None:
    first = [message("system", "规矩"), message("user", "一？"), message("assistant", "1")]
    more = [message("user", "二"), message("assistant", "2")]
    call = message("assistant", "查", None, '[{"name": "f", "arguments": {}}]')
    made = columns(
        [
            Found(messages=first),
            Found(messages=[*first, *more]),
            pair("一", "1。"),
            Found(messages=[message("user", "一"), call, message("tool", "1"), message("assistant", "1")]),
            Found(messages=[message("user", "一")], chosen=[message("assistant", "1")], rejected=more[1:]),
        ]
    )
    assert len(set(made["group"])) == len(set(made["answer"])) == 1
    assert len(set(made["hash_a"])) == 5


# ---------------------------------------------------------------- no neighbour matters


@settings(deadline=None, max_examples=150)
@given(found=st.lists(records(), min_size=2, max_size=9), cuts=st.sets(st.integers(1, 8)))
def test_measures_do_not_depend_on_the_batch(found: list[Found], cuts: set[int], exams: Exams) -> None:
    whole = measured(found, exams)
    edges = [0, *sorted(cut for cut in cuts if cut < len(found)), len(found)]
    pieces = [measured(found[a:b], exams, first=a) for a, b in itertools.pairwise(edges)]
    for name in MEASURES.names:
        joined = [value for piece in pieces for value in piece.columns[name].to_pylist()]
        assert str(joined) == str(whole.columns[name].to_pylist()), name  # NaN is NaN
    assert (np.concatenate([piece.bands for piece in pieces], axis=1) == whole.bands).all()


@pytest.mark.parametrize("behind", ["甲", "乙", "乙甲", "\n甲", "", "一"])
def test_grams_end_where_a_record_does(behind: str) -> None:
    found = Found(text="".join(chr(0x4E10 + n) for n in range(60)) + "\n甲乙\n甲丙\n甲丁甲" + "乙甲" * 2)
    alone, beside = columns([found]), columns([found, Found(text=behind), Found(text="甲乙")])
    for width in (2, 3, 4):
        name = f"top_{width}gram"
        assert beside[name][0] == alone[name][0]


def test_shards_do_not_depend_on_how_records_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    system, call = message("system", "你是牙牙"), message("assistant", "", None, '[{"name": "f"}]')
    lines: list[Any] = []
    for number in range(150):
        asked_for = message("user", f"第{rng.randrange(60)}个问题" + "，请讲" * rng.randrange(9))
        said_so = message("assistant", "讲" * rng.randrange(1, 40) + str(rng.randrange(20)))
        plain = [asked_for, said_so]
        lines += [plain, [system, *plain], [asked_for, call, message("tool", str(number)), said_so]][: 1 + number % 3]
        lines.append(plain)
    text = "".join(json.dumps({"messages": line}, ensure_ascii=False) + "\n" for line in lines)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    config = CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], near=0.8, max_top_2gram=0.11, max_per_question=3)
    made = []
    for name, in_batch, in_part in (("whole", 8192, 1 << 30), ("small", 7, 3000), ("single", 1, 9000)):
        monkeypatch.setattr(Batch, "RECORDS", in_batch)
        monkeypatch.setattr("pipeline.clean.read.PART_BYTES", in_part)
        run(config, tmp_path / name)
        known = manifest(tmp_path / name)
        assert known is not None
        made.append({n: f["hash"] for n, f in known["files"].items() if n.startswith(("train/", "valid/"))})
        parts = [n for n in known["files"] if n.endswith(".bands")]
        assert (len(parts) > 1) == (name != "whole")
    assert made[0] == made[1] == made[2]
