"""Other rules over what was measured before: nothing is read again, and the result is that of a fresh run."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.config import CleanConfig, Input, Rules
from pipeline.clean.stage import CUT_FIELDS, run
from tests.clean.test_clean import adds_up, content, records, write_jsonl
from utils.stage import read_json

HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"
Change = dict[str, Any]


def corpus(folder: Path) -> CleanConfig:
    """Two sources: dialogues in traditional characters with stars and telephones, texts of which some are alike."""
    folder.mkdir()
    dice = random.Random(1)
    rows: list[Any] = []
    for n in range(60):
        long = "".join(dice.choice(HAN) for _ in range(dice.randrange(3, 80)))
        row = {"qid": n, "title": f"第{n % 25}個問題？", "desc": "", "star": n % 7, "content": long}
        rows += [row, row | {"content": f"{long}電話13812345{n:03d}"}]
    write_jsonl(folder / "web.jsonl", [*rows, "{壞\n"])
    texts = ["".join(dice.choice(HAN) for _ in range(300)) for _ in range(20)]
    write_jsonl(
        folder / "texts.jsonl", [{"text": t} for text in texts for t in (text, text[:280], f"表格{text[:150]}")]
    )
    (folder / "exam.txt").write_text(f"{texts[3][20:50]}\n", encoding="utf-8")
    (folder / "other.txt").write_text(f"{texts[4][20:50]}\n", encoding="utf-8")
    inputs = [Input(str(folder / "web.jsonl")), Input(str(folder / "texts.jsonl"))]
    return CleanConfig(inputs=inputs, decontaminate=[str(folder / "exam.txt")], valid=0.1)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[CleanConfig, Path]:
    """A corpus and its first run; to be copied."""
    folder = tmp_path_factory.mktemp("recut")
    config = corpus(folder / "raw")
    assert run(config, folder / "clean")
    return config, folder / "clean"


@pytest.fixture
def clean(first: tuple[CleanConfig, Path], tmp_path: Path) -> Path:
    """A copy of the first run to be cut anew."""
    return shutil.copytree(first[1], tmp_path / "clean")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for their records."""
    from pipeline.clean import read

    names: list[str] = []
    items = read.items

    def noted(sample: Any, reader: str) -> Any:
        names.append(sample.base)
        return items(sample, reader)

    monkeypatch.setattr(read, "items", noted)
    return names


def measures(clean: Path) -> dict[str, tuple[int, int]]:
    """Which files on the disk hold what was measured."""
    stats = {path.name: path.stat() for path in (clean / "features").iterdir()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def changed(config: CleanConfig, change: Change) -> CleanConfig:
    """The config with other fields; `web` and `texts` are the rules of these inputs."""
    own = {name: change[name] for name in ("web", "texts") if name in change}
    inputs = [dataclasses.replace(i, rules=own.get(Path(i.path).stem, i.rules)) for i in config.inputs]
    return dataclasses.replace(config, **{"inputs": inputs} | {k: v for k, v in change.items() if k not in own})


# ---------------------------------------------------------------- without reading

CUTS: dict[str, Change] = {
    "min_chars": {"min_chars": 30},
    "max_chars": {"max_chars": 200},
    "several thresholds": {"min_han": 0.9, "max_digits": 0.1, "max_top_2gram": 0.2, "min_sentences": 0},
    "flags": {"tables": "drop", "translations": "drop"},
    "near": {"near": 0.6},
    "near copies stay": {"near": "off"},
    "per question": {"max_per_question": 2, "max_per_answer": 1},
    "valid": {"valid": 0.4},
    "test": {"valid": 0.1, "test": 0.3},
    "nothing held out": {"valid": 0.0},
    "rules of one input": {"web": Rules(min_score=6)},
    "rules of both inputs": {"web": Rules(near="off", min_score="off"), "texts": Rules(near=0.5, max_chars=290)},
    "who stops": {"max_bad_ratio": 0.5, "missing": "skip", "min_chars": 2},
}


@pytest.mark.parametrize("name", CUTS)
def test_other_rules_read_nothing(
    first: tuple[CleanConfig, Path], clean: Path, tmp_path: Path, reads: list[str], name: str
) -> None:
    config = changed(first[0], CUTS[name])
    measured = measures(clean)
    assert run(config, clean)
    assert not reads
    assert measures(clean) == measured
    assert not run(config, clean)
    assert run(config, tmp_path / "fresh")
    assert sorted(reads) == ["texts.jsonl", "web.jsonl"]
    assert content(clean) == content(tmp_path / "fresh")
    assert content(clean) != content(first[1])
    assert not list(tmp_path.glob("*.building"))
    assert not (clean / "work").exists()
    adds_up(read_json(clean / "report.json"))


def test_every_rule_can_be_cut_anew() -> None:
    tried = {name for change in CUTS.values() for name in change}
    assert tried - {"web", "texts"} <= CUT_FIELDS
    assert {field.name for field in dataclasses.fields(Rules)} <= CUT_FIELDS


def test_there_and_back(first: tuple[CleanConfig, Path], clean: Path, reads: list[str]) -> None:
    before, measured = content(clean), measures(clean)
    for change in ({"min_chars": 40}, {"near": 0.6, "min_chars": 40}, {"web": Rules(max_per_question=1)}, {}):
        assert run(changed(first[0], change), clean)
    assert content(clean) == before
    assert measures(clean) == measured
    assert not reads


def test_what_changes_nothing_makes_nothing_anew(first: tuple[CleanConfig, Path], clean: Path) -> None:
    for change in ({"workers": 1}, {"keep_features": False}):
        assert not run(changed(first[0], change), clean)
    assert (clean / "features").is_dir()


def test_a_corpus_that_was_moved_in_time_alone(first: tuple[CleanConfig, Path], clean: Path, reads: list[str]) -> None:
    """What counts is what a file holds, not when it was copied."""
    path = Path(first[0].inputs[0].path)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    try:
        assert run(changed(first[0], {"min_chars": 30}), clean)
    finally:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not reads


# ---------------------------------------------------------------- read again


def other_seed(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, seed=1)


def other_script(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, simplify=False)


def personal_data_kept(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, pii="keep")


def other_exam(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, decontaminate=[str(folder / "other.txt")])


def no_exam(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, decontaminate=[])


def exam_rewritten(config: CleanConfig, folder: Path) -> CleanConfig:
    shutil.copy(folder / "other.txt", folder / "exam.txt")
    return config


def one_input_less(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, inputs=config.inputs[1:])


def inputs_turned_round(config: CleanConfig, folder: Path) -> CleanConfig:
    return dataclasses.replace(config, inputs=config.inputs[::-1])


def a_line_more(config: CleanConfig, folder: Path) -> CleanConfig:
    with (folder / "texts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "又一篇"}\n')
    return config


def one_letter_changed(config: CleanConfig, folder: Path) -> CleanConfig:
    said = (folder / "texts.jsonl").read_bytes()
    (folder / "texts.jsonl").write_bytes(said.replace("天".encode(), "地".encode(), 1))
    return config


def of_an_input(**fields: str) -> Callable[[CleanConfig, Path], CleanConfig]:
    def change(config: CleanConfig, folder: Path) -> CleanConfig:
        inputs = [dataclasses.replace(config.inputs[0], **fields), *config.inputs[1:]]  # type: ignore[arg-type]
        return dataclasses.replace(config, inputs=inputs)

    return change


READINGS = {
    **{f.__name__: f for f in (other_seed, other_script, personal_data_kept, other_exam, no_exam, exam_rewritten)},
    **{f.__name__: f for f in (one_input_less, inputs_turned_round, a_line_more, one_letter_changed)},
    "profile": of_an_input(profile="light"),
    "source": of_an_input(source="renamed"),
    "reader": of_an_input(reader="webtext"),
}


@pytest.mark.parametrize("name", READINGS)
def test_what_changes_a_reading_is_read_again(tmp_path: Path, reads: list[str], name: str) -> None:
    config = corpus(tmp_path / "raw")
    run(config, tmp_path / "clean")
    reads.clear()
    measured = measures(tmp_path / "clean")
    config = READINGS[name](config, tmp_path / "raw")
    config = dataclasses.replace(config, min_chars=3)  # another rule besides
    assert run(config, tmp_path / "clean")
    assert sorted(reads) == sorted(Path(one.path).name for one in config.inputs)
    assert not set(measures(tmp_path / "clean").values()) & set(measured.values())
    run(config, tmp_path / "fresh")
    assert content(tmp_path / "clean") == content(tmp_path / "fresh")


def test_measures_that_are_not_kept_are_made_again(tmp_path: Path, reads: list[str]) -> None:
    config = dataclasses.replace(corpus(tmp_path / "raw"), keep_features=False)
    run(config, tmp_path / "clean")
    assert not (tmp_path / "clean" / "features").exists()
    assert not any(name.startswith("features/") for name in content(tmp_path / "clean"))
    kept = dataclasses.replace(config, keep_features=True)
    run(kept, tmp_path / "kept")
    assert (tmp_path / "kept" / "features").is_dir()
    reads.clear()
    for output, again in (("clean", 2), ("kept", 0)):
        reads.clear()
        assert run(dataclasses.replace(config, min_chars=30), tmp_path / output)
        assert len(reads) == again
        assert not (tmp_path / output / "features").exists()
    assert content(tmp_path / "clean") == content(tmp_path / "kept")


def test_damaged_measures_are_made_again(first: tuple[CleanConfig, Path], clean: Path, reads: list[str]) -> None:
    """As a full disk or a person leaves them."""
    before = content(clean)
    for suffix in (".bands", ".arrow", ".measures", ".json"):
        path = next((clean / "features").glob(f"00000*{suffix}"))
        path.write_bytes(path.read_bytes()[:-40])
        assert run(first[0], clean)
        assert content(clean) == before
        assert reads
        reads.clear()
        next((clean / "features").glob(f"00000*{suffix}")).unlink()
        assert run(changed(first[0], {"min_chars": 30}), clean)
        assert run(first[0], clean)
        assert content(clean) == before


def test_a_lost_shard_is_made_from_what_was_measured(
    first: tuple[CleanConfig, Path], clean: Path, reads: list[str]
) -> None:
    before = content(clean)
    (clean / "train" / "web-00000.parquet").unlink()
    assert run(first[0], clean)
    assert content(clean) == before
    assert not reads


# ---------------------------------------------------------------- measures that lie elsewhere


@pytest.mark.parametrize("change", [{"min_chars": 30}, {"seed": 1}, {"simplify": False}, {"near": 0.5}])
def test_a_store_is_no_trap(tmp_path: Path, change: Change) -> None:
    """`clean.store` outlives a run; what another config left there is not taken for this one's."""
    config = dataclasses.replace(corpus(tmp_path / "raw"), store=str(tmp_path / "store"))
    run(config, tmp_path / "clean")
    config = changed(config, change)
    run(config, tmp_path / "clean")
    run(dataclasses.replace(config, store=""), tmp_path / "fresh")
    report = read_json(tmp_path / "clean" / "report.json")
    assert report["kept"] == len(records(tmp_path / "clean"))
    made, fresh = content(tmp_path / "clean"), content(tmp_path / "fresh")
    assert made == {name: file for name, file in fresh.items() if not name.startswith("features/")}


# ---------------------------------------------------------------- killed

KILLED = """
import dataclasses, json, os, shutil, sys
from pathlib import Path
import pipeline.clean.page, pipeline.clean.read, pipeline.clean.stage
from pipeline.clean.config import CleanConfig, Input
from tests.clean.test_recut import changed, content

folder, change, step = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
inputs = [Input(str(folder / "raw" / name)) for name in ("web.jsonl", "texts.jsonl")]
config = changed(CleanConfig(inputs=inputs, decontaminate=[str(folder / "raw" / "exam.txt")], valid=0.1), change)


def apart(work):
    child = os.fork()
    if not child:
        try:
            code = work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            code = 99
        os._exit(code or 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def until(number):
    calls = 0

    def counted(work):
        def call(*args, **more):
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return work(*args, **more)
        return call

    os.replace, os.link, shutil.rmtree = counted(os.replace), counted(os.link), counted(shutil.rmtree)
    pipeline.clean.stage.run(config, folder / "clean")


def go_on():
    features = folder / "clean.building" / "features"

    def refused(sample, reader):
        raise AssertionError("read again")

    if not features.exists() or len(list(features.glob("0*.json"))) == 2:  # not killed while they were taken over
        pipeline.clean.read.items = refused
    pipeline.clean.stage.run(config, folder / "clean")


apart(lambda: pipeline.clean.stage.run(config, folder / "fresh"))
number = 1
while True:
    shutil.rmtree(folder / "clean", ignore_errors=True)
    shutil.copytree(folder / "first", folder / "clean")
    code = apart(lambda: until(number))
    if code == 0:
        break
    assert code == 9, code
    assert apart(go_on) == 0, number
    assert content(folder / "clean") == content(folder / "fresh"), number
    assert not (folder / "clean.building").exists(), number
    number += step
print(number)
"""


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_cut_goes_on(tmp_path: Path, step: int) -> None:
    """Killed at every file that is put in its place, linked or thrown away, and run again."""
    config = corpus(tmp_path / "raw")
    run(config, tmp_path / "first")
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    words = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), json.dumps({"min_chars": 30}), str(step)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1]) > 20
