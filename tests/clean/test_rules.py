"""Rules through the whole stage: exactly who should falls out, and the report says by which rule and how often."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.config import DEFAULT_RULES, RULE_NAMES, CleanConfig, Input, Rules, overlaid
from pipeline.clean.readers import card, readers
from pipeline.clean.rules import ALL, RULES
from pipeline.clean.stage import run
from tests.clean.test_clean import adds_up, records, write_jsonl
from utils.console import UserError
from utils.stage import read_json

Row = dict[str, Any]
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光"
TABLE = "| 甲 | 乙 |\n|----|----|\n| 1 | 2 |"


def with_gram(gram: str, times: int) -> str:
    """Fifty characters in which these stand so often, and nothing else twice."""
    rest = HAN[: 50 - len(gram) * times]
    each = [rest[i :: times + 1] for i in range(times + 1)]
    return gram.join(each)


def texts(*said: str) -> list[Row]:
    return [{"text": one} for one in said]


def asked(*questions: str) -> list[Row]:
    return [{"question": one, "answer": f"答{n}"} for n, one in enumerate(questions)]


def starred(*stars: Any) -> list[Row]:
    """As webtext2019zh has them."""
    return [{"qid": n, "title": f"问{n}，{s}", "desc": "", "star": s, "content": "答"} for n, s in enumerate(stars)]


CASES: dict[str, tuple[Any, list[Row], list[Row]]] = {
    "min_chars": (3, texts("一二三", "一二三四"), texts("一二", "一")),
    "max_chars": (4, texts("一二三四", "一"), texts("一二三四五", "一二\n三四")),
    "min_score": (3, starred(3, "4", 3.5, None, "", "无"), starred(2, 2.99, "0", -1)),
    "min_han": (0.5, texts("中文ab", "中文 12345", "中"), texts("中abc", "abc", "123", "中éèê")),
    "max_digits": (0.5, texts("12中文", "第二"), texts("123中", "2024")),
    "max_symbols": (0.25, texts("#中文字", "中文…字"), texts("##中文", "中…", "#话题#")),
    "max_repeated_lines": (
        0.4,
        texts("甲乙\n甲乙", "丙\n\n\n丁\n"),
        texts("甲乙\n甲乙\n甲乙", "三字经\n三字经\n又\n三字经"),
    ),
    "max_top_2gram": (0.2, texts(with_gram("的了", 5), "哈哈哈"), texts(with_gram("的了", 6), "哈" * 50)),
    "max_top_3gram": (0.3, texts(with_gram("的了么", 5), "哈哈哈"), texts(with_gram("的了么", 6), "哈" * 50)),
    "max_top_4gram": (0.4, texts(with_gram("的了么呢", 5), "哈哈哈"), texts(with_gram("的了么呢", 6), "哈" * 50)),
    "min_sentences": (2, texts("一。二。", "一？！", "啊…？"), texts("一。二", "一，二；三", "a. b.")),
    "max_ads": (1, texts("点击关注", "无"), texts("点击关注，扫描二维码关注", "点击关注点击关注")),
    "max_vulgar": (0, texts("聪明", "体操"), texts("你是傻逼", "煞笔")),
    "max_swaps": (1.0, texts("对症救治" + "好" * 96, "对症治疗"), texts("对症救治" + "好" * 95, "对症救治")),
    "tails": ("drop", texts("祝患者身体早日恢复健康" + "好" * 140), texts("少喝酒。祝患者身体早日恢复健康")),
    "tables": ("drop", asked("做表率吗", "什么是椅子"), asked("请做成表格", TABLE, "画一张表")),
    "translations": ("drop", asked("翻译家是谁", "hello"), asked("请把它翻译成英文", "Translate this", "译成英文")),
}
"""Of each rule a threshold, what stands within it (some of it just so), and what does not."""


def corpus(folder: Path, name: str, rule: str, mark: str = "") -> tuple[Input, set[str], set[str]]:
    """A file of a case's rows, mixed; the ids of those within and of those beyond. A mark makes them say another."""
    _, within, beyond = CASES[rule]
    rows = [(row, True) for row in within] + [(row, False) for row in beyond]
    random.Random(rule).shuffle(rows)
    marked = [{key: value + mark if key in SAID else value for key, value in row.items()} for row, _ in rows]
    write_jsonl(folder / f"{name}.jsonl", marked)
    ids = [{f"{name}/{name}.jsonl/{n}" for n, (_, stays) in enumerate(rows) if stays == wanted} for wanted in (1, 0)]
    return Input(str(folder / f"{name}.jsonl"), profile="light"), ids[0], ids[1]


SAID = ("text", "answer", "content")


def cleaned(config: CleanConfig, output: Path) -> tuple[set[str], Any]:
    """The ids that were kept, and the report."""
    run(config, output)
    report = read_json(output / "report.json")
    adds_up(report)
    ids = [record["id"] for record in records(output)]
    assert report["kept"] == len(ids) == len(set(ids))
    return set(ids), report


def say_on_cards(monkeypatch: pytest.MonkeyPatch, **rules: Any) -> None:
    """Let every card that a case meets say just this."""
    for name in ("text", "pairs", "webtext"):
        monkeypatch.setattr(readers()[name], "CARD", dataclasses.replace(card(name), rules=Rules(**rules)))


def counted(report: Any, rule: str, count: int) -> None:
    assert report["dropped"] == {rule: count}
    assert report["rules"] == {rule: {"first": count, "any": count, "sole": count}}


# ---------------------------------------------------------------- each rule, wherever it is given


def test_every_rule_has_a_case() -> None:
    assert list(CASES) == [rule.name for rule in RULES]
    assert {*CASES, "max_per_question", "max_per_answer", "near"} == set(RULE_NAMES)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    say_on_cards(monkeypatch)
    one, within, beyond = corpus(tmp_path, "a", rule)
    config = CleanConfig(inputs=[one], **{rule: CASES[rule][0]})
    kept, report = cleaned(config, tmp_path / "clean")
    assert kept == within
    counted(report, rule, len(beyond))
    counted(report["sources"]["a"], rule, len(beyond))


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    say_on_cards(monkeypatch, **{rule: CASES[rule][0]})
    one, within, beyond = corpus(tmp_path, "a", rule)
    kept, report = cleaned(CleanConfig(inputs=[one]), tmp_path / "clean")
    assert kept == within
    counted(report, rule, len(beyond))


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_one_input_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    say_on_cards(monkeypatch)
    free, *both = corpus(tmp_path, "free", rule, mark="另")
    ruled, within, beyond = corpus(tmp_path, "ruled", rule)
    ruled = dataclasses.replace(ruled, rules=Rules(**{rule: CASES[rule][0]}))
    kept, report = cleaned(CleanConfig(inputs=[free, ruled]), tmp_path / "clean")
    assert kept == within | both[0] | both[1]
    counted(report, rule, len(beyond))
    counted(report["sources"]["ruled"], rule, len(beyond))
    assert report["sources"]["free"]["dropped"] == report["sources"]["free"]["rules"] == {}


@pytest.mark.parametrize("rule", ["min_score", "min_sentences", "max_swaps"])
def test_without_the_rule_all_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    say_on_cards(monkeypatch)
    one, within, beyond = corpus(tmp_path, "a", rule)
    kept, report = cleaned(CleanConfig(inputs=[one]), tmp_path / "clean")
    assert kept == within | beyond
    assert report["dropped"] == report["rules"] == {}


def test_a_score_may_be_negative(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", starred(-3, -10, 2))
    config = CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"), rules=Rules(min_chars=1))], min_score=-3)
    assert cleaned(config, tmp_path / "clean")[1]["dropped"] == {"min_score": 1}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_chars": -3}, "min_chars = -3; give 0 or more, or off"),
        ({"max_chars": 0}, "max_chars = 0; give 1 or more, or off"),
        ({"max_ads": -1}, "max_ads = -1; give 0 or more, or off"),
        ({"max_per_answer": 0}, "max_per_answer = 0; give 1 or more, or off"),
        ({"max_digits": 1.5}, "max_digits = 1.5; it is a share, between 0 and 1, or off"),
        ({"near": 0}, "near = 0; give a similarity above 0, or off"),
        (
            {"min_chars": 9, "max_chars": 8},
            "min_chars = 9 is more than max_chars = 8, which leaves nothing; change one",
        ),
    ],
)
def test_thresholds_that_mean_nothing(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Rules(**fields)


def test_layers_that_contradict_each_other_are_told_before_anything_is_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", starred(9))  # webtext's card wants fifteen characters
    with pytest.raises(
        UserError, match=r"clean.inputs: .*a.jsonl: .*webtext.* min_chars = 15 is more than max_chars = 10"
    ):
        run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], max_chars=10), tmp_path / "clean")
    assert not (tmp_path / "clean.building").exists()


@pytest.mark.parametrize("least", [-1e9, 0, 1e9])
def test_min_score_hits_nobody_where_the_corpus_counts_none(tmp_path: Path, least: float) -> None:
    write_jsonl(tmp_path / "a.jsonl", texts("一", "二"))
    write_jsonl(tmp_path / "b.jsonl", asked("一", "二"))
    config = CleanConfig(inputs=[Input(str(tmp_path / "*.jsonl"))], min_score=least)
    assert cleaned(config, tmp_path / "clean")[1]["rules"] == {}


# ---------------------------------------------------------------- who is asked first


SHORT, LONG, DIGITS, VULGAR, ASKED = "min_chars", "max_chars", "max_digits", "max_vulgar", "translations"
HITS: list[tuple[str, str, tuple[str, ...]]] = [
    ("好问题", "好回答", ()),
    ("好问题", "好", (SHORT,)),
    ("好问题二", "", ("empty", SHORT)),
    ("好问题三", "1", (SHORT,)),
    ("1234567", "12", (DIGITS,)),
    ("1234567", "1", (SHORT, DIGITS)),
    ("翻译成英文", "傻逼", (VULGAR, ASKED)),
    ("翻译成英文", "啊", (SHORT, ASKED)),
    ("翻译成英文", "啊啊啊啊啊啊啊啊", (LONG, ASKED)),
    ("123456789012", "12", (LONG, DIGITS)),
    ("好问题", "好回答", ("duplicate",)),
    ("好，问题", "好回答", ()),
    ("好问题", "好的回答", ("max_per_question",)),
    ("好问题四", "水的沸点是", ("in_exam",)),
    ("好问题四", "水的沸点是", ("duplicate", "in_exam")),
    ("翻译成英文", "水的沸点是", (ASKED, "in_exam")),
]
"""Questions, answers, and the rules that hit them. The copy of a record that no rule lets stay is none."""


def test_first_any_and_sole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every rule that hits, not only the first one asked."""
    say_on_cards(monkeypatch)
    (tmp_path / "exam.txt").write_text("水的沸点是\n", encoding="utf-8")
    write_jsonl(tmp_path / "a.jsonl", [{"question": q, "answer": a} for q, a, _ in HITS])
    bounds = {SHORT: 2, LONG: 12, DIGITS: 0.6, VULGAR: 0, ASKED: False}
    config = CleanConfig(
        inputs=[Input(str(tmp_path / "a.jsonl"))],
        max_per_question=2,
        decontaminate=[str(tmp_path / "exam.txt")],
        valid=0,
        **bounds,
    )
    kept, report = cleaned(config, tmp_path / "clean")
    assert kept == {f"a/a.jsonl/{n}" for n, (_, _, hit) in enumerate(HITS) if not hit}
    first = Counter(min(hit, key=ALL.index) for _, _, hit in HITS if hit)
    every = Counter(rule for _, _, hit in HITS for rule in hit)
    sole = Counter(hit[0] for _, _, hit in HITS if len(hit) == 1)
    assert report["rules"] == {
        rule: {"first": first[rule], "any": every[rule], "sole": sole[rule]} for rule in ALL if every[rule]
    }
    assert report["dropped"] == {rule: first[rule] for rule in ALL if first[rule]}


def test_what_was_not_read_is_counted_apart(tmp_path: Path) -> None:
    rows: list[Any] = [*texts("一二三", "一二", "一二三"), "坏\n", "{坏\n", *texts("四五六")]
    write_jsonl(tmp_path / "a.jsonl", rows)
    write_jsonl(tmp_path / "b.jsonl", [*texts("一二三", "一"), "[]\n"])
    config = CleanConfig(inputs=[Input(str(tmp_path / "*.jsonl"))], min_chars=2, max_bad_ratio=0.4)
    kept, report = cleaned(config, tmp_path / "clean")
    assert kept == {"a/a.jsonl/0", "a/a.jsonl/1", "a/a.jsonl/5"}
    assert (report["read"], report["kept"], report["quarantined"]) == (9, 3, 3)
    assert report["sources"]["a"]["dropped"] == {"duplicate": 1}
    assert report["sources"]["b"]["dropped"] == {"duplicate": 1, "min_chars": 1}
    assert (report["sources"]["b"]["kept"], report["sources"]["b"]["quarantined"]) == (0, 1)


# ---------------------------------------------------------------- who speaks last

LAYERS = st.builds(
    Rules,
    min_chars=st.none() | st.integers(0, 9),
    max_chars=st.none() | st.integers(10, 99),
    near=st.none() | st.sampled_from(["off", 0.8]),
    tables=st.none() | st.sampled_from(["drop", "off"]),
    max_ads=st.none() | st.integers(0, 2),
)


@given(st.lists(LAYERS, max_size=4))
def test_of_each_rule_the_last_layer_that_speaks_of_it_counts(layers: list[Rules]) -> None:
    found = overlaid(*layers)
    for name in RULE_NAMES:
        said = [value for layer in layers if (value := getattr(layer, name)) is not None]
        assert getattr(found, name) == (said[-1] if said else None)


STAIRS = texts(*(HAN[:n] for n in range(1, 10)))
"""Of one character, of two, …"""


@pytest.mark.parametrize(
    ("of_card", "of_recipe", "of_input", "counts"),
    [
        (None, None, None, 1),
        (5, None, None, 5),
        (5, 3, None, 3),
        (5, 7, 2, 2),
        (5, None, 8, 8),
        (5, 0, None, 1),
        (5, 3, 0, 1),
        (None, 4, None, 4),
        (None, None, 6, 6),
    ],
)
def test_input_over_recipe_over_card_over_the_usual(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    of_card: int | None,
    of_recipe: int | None,
    of_input: int | None,
    counts: int,
) -> None:
    say_on_cards(monkeypatch, min_chars=of_card)
    write_jsonl(tmp_path / "a.jsonl", STAIRS)
    one = Input(str(tmp_path / "a.jsonl"), rules=Rules(min_chars=of_input))
    kept, report = cleaned(CleanConfig(inputs=[one], min_chars=of_recipe), tmp_path / "clean")
    assert kept == {f"a/a.jsonl/{n - 1}" for n in range(counts, 10)}
    assert report["dropped"] == ({"min_chars": counts - 1} if counts > 1 else {})


def test_the_usual_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say_on_cards(monkeypatch)
    assert Rules(min_chars=1, max_chars=100_000) == DEFAULT_RULES
    said = "".join(chr(0x4E00 + n % 9973) + chr(0x4E00 + n % 8191) for n in range(50_000))
    write_jsonl(tmp_path / "a.jsonl", texts("一", "", said, said + "多", said[1:] + "。"))
    kept, report = cleaned(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "clean")
    assert kept == {f"a/a.jsonl/{n}" for n in (0, 2, 4)}  # near copies too
    assert report["dropped"] == {"empty": 1, "max_chars": 1}
    assert report["rules"]["min_chars"] == {"first": 0, "any": 1, "sole": 0}


SWITCHES: dict[str, tuple[Any, Any, list[Row]]] = {
    "near": (0.5, "off", texts(HAN, HAN + "多")),
    "max_per_question": (1, "off", asked("问", "问？")),
    "max_per_answer": (1, "off", [{"question": "一", "answer": "答"}, {"question": "二", "answer": "答"}]),
    "min_chars": (2, "off", texts("一二", "三")),
    "max_chars": (3, "off", texts("一二", "一二三四")),
    "min_han": (0.5, "off", texts("一二", "abc")),
    "max_digits": (0.1, "off", texts("一二", "123")),
    "min_score": (5, "off", starred(9, -1)),
    "max_ads": (0, "off", texts("一二", "点击关注")),
    "max_vulgar": (0, "off", texts("一二", "煞笔")),
    "min_sentences": (1, "off", texts("一。", "二")),
    "tails": ("drop", "off", texts("少喝酒", "祝患者身体早日恢复健康")),
    "tables": ("drop", "off", asked("一", "画一张表")),
    "translations": ("drop", "off", asked("一", "翻译成英文")),
}
"""What a card asks for, how an input says that it does not want that, and two rows of which the second would go."""


@pytest.mark.parametrize("rule", SWITCHES)
@pytest.mark.parametrize("where", ["card", "recipe"])
def test_one_input_switches_a_rule_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, where: str) -> None:
    asked_for, off, rows = SWITCHES[rule]
    on = {rule: asked_for}
    say_on_cards(monkeypatch, **(on if where == "card" else {}))
    write_jsonl(tmp_path / "a.jsonl", rows)
    for rules, kept in ((Rules(), {"a/a.jsonl/0"}), (Rules(**{rule: off}), {"a/a.jsonl/0", "a/a.jsonl/1"})):
        one = Input(str(tmp_path / "a.jsonl"), rules=rules)
        config = CleanConfig(inputs=[one], **(on if where == "recipe" else {}))
        assert cleaned(config, tmp_path / "clean")[0] == kept


def test_a_switch_of_the_recipe_holds_over_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say_on_cards(monkeypatch, near=0.5)
    write_jsonl(tmp_path / "a.jsonl", SWITCHES["near"][2])
    assert len(cleaned(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "clean")[0]) == 1
    assert len(cleaned(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], near="off"), tmp_path / "clean")[0]) == 2


def test_the_cards_as_they_are(tmp_path: Path) -> None:
    """webtext's own: five stars, fifteen characters, near copies of 0.8."""
    long = "这个回答说得很长，讲了很多很多道理，所以留了下来。" + HAN
    told = [(9, long), (4, long[::-1]), (9, "太短了"), (5, long + "好"), (7, HAN)]
    rows = [row | {"content": said} for row, (_, said) in zip(starred(*(s for s, _ in told)), told, strict=True)]
    rows[3]["title"] = rows[0]["title"]
    write_jsonl(tmp_path / "a.jsonl", rows)
    kept, report = cleaned(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "clean")
    assert kept == {"a/a.jsonl/0", "a/a.jsonl/4"}
    assert report["dropped"] == {"min_score": 1, "min_chars": 1, "near_duplicate": 1}


# ---------------------------------------------------------------- enough of one question, of one answer


def many_answers() -> list[tuple[str, str]]:
    """Pairs of few questions, each asked in several ways, and few answers."""
    dice = random.Random(5)
    marks = ("", "？", " ", "！", "…")
    pairs = [(f"问题{dice.randrange(12)}{dice.choice(marks)}", f"答案{dice.randrange(40)}") for _ in range(300)]
    return [(question, f"{answer}{dice.choice(marks[:2])}") for question, answer in pairs]


def first_ones(pairs: list[tuple[str, str]], limits: list[int], which: int) -> set[int]:
    """Numbers of the pairs that stay if each question (or answer) may have so many, exact copies left out."""
    known, counts, stays = set(), Counter[str](), set()
    for number, (pair, limit) in enumerate(zip(pairs, limits, strict=True)):
        if (said := tuple(one.strip() for one in pair)) in known:
            continue
        known.add(said)
        name = "".join(c for c in pair[which] if c.isalnum())
        counts[name] += 1
        if not limit or counts[name] <= limit:
            stays.add(number)
    return stays


@pytest.mark.parametrize(("rule", "which"), [("max_per_question", 0), ("max_per_answer", 1)])
@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_first_ones_read_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, which: int, limit: int
) -> None:
    """Over all files, whatever the order in which pieces are done and shards are shuffled."""
    monkeypatch.setattr("pipeline.clean.stage.PIECE_BYTES", 3000)
    monkeypatch.setattr("pipeline.clean.choose.ROWS_AT_ONCE", 70)
    pairs = many_answers()
    sizes = {"b": (0, 40), "a": (40, 250), "c": (250, 300)}
    for name, (start, end) in sizes.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"question": q, "answer": a} for q, a in pairs[start:end]])
    inputs = [Input(str(tmp_path / f"{name}.jsonl")) for name in sizes]
    kept, report = cleaned(CleanConfig(inputs=inputs, **{rule: limit or "off"}), tmp_path / "clean")
    wanted = first_ones(pairs, [limit] * len(pairs), which)
    ids = [f"{name}/{name}.jsonl/{n}" for name, (start, end) in sizes.items() for n in range(end - start)]
    assert kept == {ids[number] for number in wanted}
    copies = len(pairs) - len(first_ones(pairs, [0] * len(pairs), which))
    assert report["dropped"].get("duplicate", 0) == copies > 0
    assert report["dropped"].get(rule, 0) == len(pairs) - copies - len(wanted)
    assert (rule in report["dropped"]) == bool(limit)


def test_a_limit_holds_for_the_input_that_gives_it(tmp_path: Path) -> None:
    pairs = many_answers()
    for name, start in (("a", 0), ("b", 150)):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"question": q, "answer": a} for q, a in pairs[start : start + 150]])
    limits = {"a": 3, "b": 15}
    inputs = [Input(str(tmp_path / f"{n}.jsonl"), rules=Rules(max_per_question=limits[n])) for n in limits]
    kept, _ = cleaned(CleanConfig(inputs=inputs), tmp_path / "clean")
    wanted = first_ones(pairs, [3] * 150 + [15] * 150, 0)
    assert kept == {f"{'ab'[number // 150]}/{'ab'[number // 150]}.jsonl/{number % 150}" for number in wanted}
    assert {one[0] for one in kept} == {"a", "b"}


def test_texts_have_no_question(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", texts("一", "一。", "一！"))
    config = CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], max_per_question=1, max_per_answer=1)
    assert len(cleaned(config, tmp_path / "clean")[0]) == 3
