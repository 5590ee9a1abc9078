"""report.html of a cleaning: every count and sample is there, escaped, in the reader's language, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.page import page_of
from pipeline.clean.page_evidence import known_mends
from pipeline.clean.page_words import COUNTED, MENDS, REASONS, amount, measured
from pipeline.clean.rules import ALL
from pipeline.clean.stage import run
from pipeline.clean.text.ledger import COUNTS
from tests.utils.test_page import EVIL, Balance
from utils.page import percent
from utils.stage import read_json

Report = dict[str, Any]
HITS = {"first": 3, "any": 5, "sole": 2}


@pytest.fixture(autouse=True, params=["en_US.UTF-8", "zh_CN.UTF-8"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every page is made for an English and for a Chinese reader."""
    for name in ("LANGUAGE", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", request.param)
    return str(request.param)


def source(rules: tuple[str, ...] = ALL, name: str = "web") -> Report:
    """A source of which every rule was the first to drop three records."""
    return {
        "read": 1001 + 3 * len(rules),
        "kept": 1000,
        "quarantined": 1,
        "dropped": dict.fromkeys(rules, 3),
        "splits": {"train": 980, "valid": 20, "test": 0},
        "rules": {rule: dict(HITS) for rule in rules},
        "files": [{"file": f"data/{name}.jsonl", "reader": "text", "read": 1001}],
        "thresholds": {"min_chars": 1},
    }


def report_of(sources: dict[str, Report]) -> Report:
    """Sources added up, with a sample of everything."""
    rules = [rule for rule in ALL if any(rule in one["rules"] for one in sources.values())]
    spread = {"read": [0, 5, 9, 1], "kept": [0, 5, 7, 0]}
    return {
        **{name: sum(one[name] for one in sources.values()) for name in ("read", "kept", "quarantined")},
        "dropped": {rule: sum(one["dropped"].get(rule, 0) for one in sources.values()) for rule in rules},
        "splits": {"train": 980, "valid": 20, "test": 0},
        "empty_files": [],
        "rules": {rule: dict(HITS) for rule in rules},
        "sources": sources,
        "mended": {
            "width": {"texts": 9, "decimals": [4, 4, 0], "samples": [[7, "天气不错,出门", "天气不错，出门"]]},
            "invisible": {"texts": 2, "words": [9, 8, 1], "samples": [[8, "零\u200b宽", "零宽"]]},
        },
        "samples": {rule: [{"source": "web", "value": 0.25, "text": f"样本 {rule}"}] for rule in rules},
        "clusters": [{"source": "web", "size": 3, "stays": "今天天气真好。", "gone": ["今天天气很好。"]}],
        "histograms": {
            "edges": {"chars": [0, 10, 100, 1000], "han": [0.0, 0.25, 0.5, 0.75, 1.0]},
            "sources": {name: {"chars": spread, "han": spread} for name in sources},
        },
        "quarantine": [
            {"file": "a.csv", "offset": 17, "ordinal": 4, "reason": "two fields of three", "bytes": "\\xff,"}
        ],
        "shards": [f"train/{name}-00000.parquet" for name in sources],
    }


def nothing_beside(report: Report) -> Report:
    """A report of counts alone."""
    bare = {"mended": {}, "samples": {}, "clusters": [], "quarantine": [], "shards": []}
    return report | bare | {"histograms": {"edges": {"chars": [], "han": []}, "sources": {}}}


def read(text: str) -> Balance:
    """The page as a browser reads it; it has to be whole and stand alone."""
    text.encode("utf-8")
    page = Balance(text)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links), page.links
    assert not re.search(r"@import|url\(", text)
    return page


def test_a_run_reports_what_these_reports_do(tmp_path: Path) -> None:
    long = "".join(chr(0x4E00 + 7 * n) for n in range(200))
    said = [long, f"{long}了", "短", "零\u200b宽，12.5 米。"]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in said) + "{\n")
    config = CleanConfig(inputs=[Input(str(tmp_path / "web.jsonl"))], near=0.6, min_chars=2, max_bad_ratio=0.5)
    run(config, tmp_path / "clean")
    real, made = read_json(tmp_path / "clean/report.json"), report_of({"web": source()})
    assert real.keys() == made.keys()
    assert real["sources"]["web"].keys() == made["sources"]["web"].keys()
    assert real["sources"]["web"]["files"][0].keys() == made["sources"]["web"]["files"][0].keys()
    for name in ("clusters", "quarantine"):
        assert real[name][0].keys() == made[name][0].keys()
    for name in ("mended", "samples", "rules"):
        assert set(real[name]) <= {*MENDS, *REASONS}
    assert real["samples"]["min_chars"][0].keys() == made["samples"]["min_chars"][0].keys()
    assert real["histograms"].keys() == made["histograms"].keys()
    assert page_of(real) == (tmp_path / "clean/report.html").read_text(encoding="utf-8")
    read(page_of(real))


def test_every_rule_and_source_is_on_the_page(language: str) -> None:
    report = report_of({"web": source(), "books": source(("min_chars",), "books")})
    text = page_of(report)
    read(text)
    assert f'lang="{"zh-CN" if language.startswith("zh") else "en"}"' in text
    said = [words.name[language.startswith("zh")] for words in REASONS.values()]
    for wanted in [*ALL, *said, "web", "books", "data/books.jsonl", "train/web-00000.parquet", "two fields of three"]:
        assert wanted in text
    assert all(f"样本 {rule}" in text for rule in ALL)


def test_there_are_words_for_all_that_is_counted() -> None:
    assert list(REASONS) == list(ALL)
    assert set(MENDS) == set(known_mends())
    assert list(COUNTED) == list(COUNTS)


def test_nothing_in_the_data_is_markup() -> None:
    hits = {EVIL: HITS}
    one = source(()) | {"rules": hits, "dropped": {EVIL: 3}, "files": [{"file": EVIL, "reader": EVIL, "read": 3}]}
    report = report_of({EVIL: one, "web": source()})
    report |= {"rules": hits, "dropped": {EVIL: 3}, "shards": [EVIL]}
    report["mended"] = {EVIL: {"texts": 1, "samples": [[1, EVIL, f"{EVIL}!"], [2, EVIL, "x"]]}}
    report["samples"] = {EVIL: [{"source": EVIL, "value": 3.5, "text": EVIL}]}
    report["clusters"] = [{"source": EVIL, "size": 2, "stays": EVIL, "gone": [f"{EVIL}!", "y"]}]
    report["quarantine"] = [{"file": EVIL, "offset": None, "ordinal": 0, "reason": EVIL, "bytes": EVIL}]
    text = page_of(report)
    read(text)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 20


def test_a_page_of_counts_alone() -> None:
    read(page_of(nothing_beside(report_of({"web": source(())}))))
    bare = nothing_beside(report_of({"web": source(())}))
    del bare["mended"]
    text = page_of(bare)
    assert "<details" not in text
    assert "<del>" not in text


def test_forty_sources_of_any_length() -> None:
    many = {f"{'很长的名字' * 30}-{i}": source() for i in range(40)}
    report = report_of(many)
    for name in ("read", "kept"):
        report[name] = 10**13
    report["samples"] = {"max_chars": [{"source": "x", "value": 10**9, "text": "长" * 100_000}]}
    text = page_of(report)
    read(text)
    assert all(name in text for name in many)
    assert len(text) < 2_000_000


def test_empty_source_has_no_shares() -> None:
    empty = source(()) | {"read": 0, "kept": 0, "quarantined": 0, "files": []}
    read(page_of(nothing_beside(report_of({"web": source(), "none": empty}))))


def test_a_loss_that_nobody_meant_is_told() -> None:
    report = report_of({"web": source()})
    assert 'class="no"' not in page_of(report)  # `invisible` may lower words
    report["mended"]["width"]["decimals"] = [4, 3, 1]
    assert page_of(report).count('<span class="no">✗</span>') == 2


def test_changes_are_marked_and_personal_data_stay_hidden() -> None:
    report = report_of({"web": source()})
    report["mended"]["pii"] = {"texts": 1, "samples": [[1, "电话***********，** 楼", "电话[电话]，12 楼"]]}
    text = page_of(report)
    assert "天气不错<del>,</del><ins>，</ins>出门" in text
    assert "零<del><code>U+200B</code></del>宽" in text
    assert "今天天气<del>真</del><ins>很</ins>好" in text
    assert "<del>***********</del><ins>[电话]</ins>，** 楼" in text


def test_values_have_their_unit(language: str) -> None:
    chinese = language.startswith("zh")
    assert measured("min_han", 0.1234) == "12.3 %"
    assert measured("min_chars", 3) == ("3 字" if chinese else "3 characters")
    assert measured("min_chars", 1) == ("1 字" if chinese else "1 character")
    assert measured("tables", True) == measured("duplicate", None) == ""


def test_counts_and_shares_read_well(language: str) -> None:
    counts = [amount(count) for count in (999_999, 1_234_567, 765_432_109, 12_345_678_901)]
    chinese = ["999,999", "123 万", "7.65 亿", "123 亿"]
    assert counts == (
        chinese if language.startswith("zh") else ["999,999", "1.23 million", "765 million", "12.3 billion"]
    )
    shares = [percent(part, 100_000) for part in (0, 1, 50, 50_000, 99_950, 99_999, 100_000)]
    assert shares == ["0 %", "< 0.01 %", "0.05 %", "50.0 %", "99.95 %", "> 99.99 %", "100 %"]
    assert percent(0, 0) == "–"
