"""The clean stage: every record is accounted for, and the same shards come out however it was run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.clean.choose import OUT, _splits, points_of
from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.inputs import expand
from pipeline.clean.read import read_piece
from pipeline.clean.stage import plan, run
from pipeline.clean.store import Store
from utils.console import UserError
from utils.records import SCHEMA, SPLITS, Record, kinds_in, read_records, record_shards
from utils.stage import manifest, read_json

HEADERS = [("question", "answer"), ("input_text", "target_text"), ("问题", "回答")]


def records(clean: Path, split: str | None = None) -> list[Record]:
    splits = [split] if split else SPLITS
    return [
        r
        for s in splits
        for shards in record_shards(clean, s).values()
        for shard in shards
        for r in read_records(shard)
    ]


def write_csv(path: Path, rows: int, header: tuple[str, str] = HEADERS[0], encoding: str = "utf-8") -> Path:
    lines = [f"第{n}件事怎么做？,这样做：先想{n}遍，再做{n}遍，别着急。" for n in range(rows)]
    path.write_bytes("\r\n".join([",".join(header), *lines]).encode(encoding))
    return path


def write_jsonl(path: Path, values: list[Any]) -> Path:
    path.write_text(
        "".join(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8"
    )
    return path


def adds_up(report: dict[str, Any]) -> None:
    for one in (report, *report["sources"].values()):
        assert one["read"] == one["kept"] + one["quarantined"] + sum(one["dropped"].values())
    for name in ("read", "kept", "quarantined"):
        assert report[name] == sum(one[name] for one in report["sources"].values())


# ---------------------------------------------------------------- "I have 500 dialogues"


@pytest.mark.parametrize("rows", [20, 5000])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_my_dialogues(tmp_path: Path, encoding: str, header: tuple[str, str], rows: int) -> None:
    run(CleanConfig(inputs=[Input(str(write_csv(tmp_path / "my.csv", rows, header, encoding)))]), tmp_path / "clean")
    report = read_json(tmp_path / "clean" / "report.json")
    assert (report["read"], report["kept"], report["quarantined"], report["dropped"]) == (rows, rows, 0, {})
    train = records(tmp_path / "clean", "train")
    assert len(train) >= 0.9 * rows
    by_id = {r["id"]: r for r in records(tmp_path / "clean")}
    assert set(by_id) == {f"my/my.csv/{n}" for n in range(rows)}
    assert [m["content"] for m in by_id["my/my.csv/7"]["messages"]] == [
        "第7件事怎么做？",
        "这样做：先想7遍，再做7遍，别着急。",
    ]
    assert [r["id"] for r in train] != sorted(by_id)


# ---------------------------------------------------------------- accounting


def test_every_record_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = {"prompt": "一加一等于几？", "response": "等于二。"}
    values: list[Any] = [
        pair,
        pair | {"source": "另一处"},
        {"prompt": "一加一等于几？\u200b ", "response": "等于二。\r\n"},
        {"prompt": "空的", "response": " \u200b"},
        {"prompt": "短", "response": "好"},
        {"prompt": "长", "response": "长" * 60},
        "{坏的一行\n",
        *({"prompt": f"问{n}", "response": f"答了{n}"} for n in range(12)),
    ]
    write_jsonl(tmp_path / "a.jsonl", values)
    write_jsonl(tmp_path / "b.jsonl", [pair, {"prompt": "新的", "response": "真的新"}])
    (tmp_path / "none.csv").write_bytes(b"\xef\xbb\xbf\n")
    inputs = [Input(str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl", "none.csv")]
    config = CleanConfig(inputs=inputs, min_chars=2, max_chars=50, max_bad_ratio=0.05)
    assert run(config, tmp_path / "clean")
    report = read_json(tmp_path / "clean" / "report.json")
    adds_up(report)
    assert report["dropped"] == {"empty": 1, "min_chars": 1, "max_chars": 1, "duplicate": 3}
    assert report["sources"]["b"]["dropped"] == {"duplicate": 1}
    assert (report["read"], report["kept"], report["quarantined"]) == (21, 14, 1)
    assert report["empty_files"] == [(tmp_path / "none.csv").as_posix()]
    (line,) = (tmp_path / "clean" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    bad = json.loads(line)
    assert (bad["file"], bad["ordinal"], bad["bytes"]) == ((tmp_path / "a.jsonl").as_posix(), 6, "{坏的一行")
    assert bad["reason"].startswith("not JSON")
    assert len(records(tmp_path / "clean")) == 14
    spoken = capsys.readouterr()
    assert "clean: 14 of 21 records kept" in spoken.out
    assert "unreadable 1" in spoken.out
    assert "none.csv: empty file" in spoken.err


def test_records_are_as_the_contract_says(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": " 问\r\n题 "},
        {"role": "assistant", "content": "答", "reasoning_content": "想"},
    ]
    write_jsonl(
        tmp_path / "chat.jsonl", [json.dumps({"messages": turns, "tools": [{"name": "f"}], "lang": "zh\ud83d"})]
    )
    (tmp_path / "story.txt").write_text("题目\n\n\n  缩进　\n第二行\n", encoding="utf-8")
    run(CleanConfig(inputs=[Input(str(tmp_path / "*.*"))], valid=0), tmp_path / "clean")
    (shard,) = record_shards(tmp_path / "clean", "train")["chat"]
    assert pq.read_schema(shard).equals(SCHEMA)
    chat, *texts = records(tmp_path / "clean", "train")
    assert chat["messages"] == [
        {"role": "user", "content": "问\n题", "reasoning": None, "tool_calls": None},
        {"role": "assistant", "content": "答", "reasoning": "想", "tool_calls": None},
    ]
    assert (chat["kind"], chat["text"], chat["tools"], chat["meta"]) == (
        "chat",
        None,
        '[{"name": "f"}]',
        '{"lang": "zh?"}',
    )
    assert (chat["id"], chat["cluster_size"], chat["chosen"]) == ("chat/chat.jsonl/0", 1, None)
    assert sorted(t["text"] for t in texts) == ["  缩进\n第二行", "题目"]
    assert all(t["kind"] == "text" and t["messages"] is None for t in texts)


def test_two_inputs_of_one_name_are_one_source(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "a.jsonl", [{"text": f"{folder}{n}"} for n in range(5)])
    run(
        CleanConfig(inputs=[Input(str(tmp_path / "x/a.jsonl")), Input(str(tmp_path / "y/a.jsonl"))], valid=0),
        tmp_path / "clean",
    )
    assert list(record_shards(tmp_path / "clean", "train")) == ["a"]
    ids = [r["id"] for r in records(tmp_path / "clean")]
    assert len(set(ids)) == 10
    assert read_json(tmp_path / "clean" / "report.json")["sources"]["a"]["read"] == 10


# ---------------------------------------------------------------- splits


def test_groups_never_straddle_splits(tmp_path: Path) -> None:
    values = [
        {"question": f"{mark}第{n}个问题{mark}", "answer": f"{mark}答{n}"}
        for n in range(400)
        for mark in ("", "？", " ")
    ]
    write_jsonl(tmp_path / "a.jsonl", values)
    run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], valid=0.1, test=0.1), tmp_path / "clean")
    groups = {split: {r["group"] for r in records(tmp_path / "clean", split)} for split in SPLITS}
    assert sum(len(g) for g in groups.values()) == len(set().union(*groups.values())) == 400
    assert 15 < len(groups["valid"]) < 65
    assert 15 < len(groups["test"]) < 65


def test_pieces_of_a_document_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.clean.corpora.plain_text.LONGEST", 20)
    documents = ["".join(f"第{n}篇第{i}行的字\n" for i in range(8)) for n in range(60)]
    (tmp_path / "a.txt").write_text("\n".join(documents), encoding="utf-8")
    run(CleanConfig(inputs=[Input(str(tmp_path / "a.txt"))], valid=0.3), tmp_path / "clean")
    where: dict[str, set[str]] = {}
    for split in SPLITS:
        for record in records(tmp_path / "clean", split):
            where.setdefault(record["text"].split("篇")[0], set()).add(split)
    assert len(where) == 60
    assert all(len(splits) == 1 for splits in where.values())
    assert {"train"} in where.values()
    assert {"valid"} in where.values()


@pytest.mark.parametrize("seed", range(20))
def test_train_is_never_empty(tmp_path: Path, seed: int) -> None:
    """Whatever the seed, and though almost everything is to be held out; for every source."""
    write_jsonl(tmp_path / "a.jsonl", [{"text": f"文{n}"} for n in range(3)])
    write_jsonl(tmp_path / "b.jsonl", [{"text": "独一篇"}])
    config = CleanConfig(inputs=[Input(str(tmp_path / "*.jsonl"))], valid=0.9, seed=seed)
    run(config, tmp_path / "clean")
    assert set(record_shards(tmp_path / "clean", "train")) == {"a", "b"}


def test_only_a_source_without_train_is_rescued() -> None:
    config = CleanConfig(valid=0.5)
    groups = np.arange(200, dtype=np.uint64)
    held = groups[points_of(groups, config.seed) < 0.5]
    kept = np.ones(len(held), bool)
    kept[0] = False
    splits = _splits(held, kept, np.zeros(len(held), np.int32), config)
    assert splits[0] == OUT
    assert sorted(splits[1:].tolist()) == [0] + [1] * (len(held) - 2)
    trained = groups[points_of(groups, config.seed) >= 0.5][:1]
    both = _splits(np.append(held, trained), np.ones(len(held) + 1, bool), np.zeros(len(held) + 1, np.int32), config)
    assert both.tolist() == [1] * len(held) + [0]


def test_large_sources_are_cut_into_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.clean.stage.BUCKET_BYTES", 2000)
    write_jsonl(tmp_path / "a.jsonl", [{"text": f"第{n}篇的文字"} for n in range(400)])
    run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "clean")
    shards = record_shards(tmp_path / "clean", "train")["a"]
    assert [shard.name for shard in shards] == [f"a-{n:05d}.parquet" for n in range(8)]
    assert len(records(tmp_path / "clean")) == 400
    monkeypatch.setattr("pipeline.clean.stage.BUCKET_BYTES", 1 << 30)
    run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "whole")
    assert records(tmp_path / "whole", "train") == records(tmp_path / "clean", "train")


# ---------------------------------------------------------------- the same result, however it was run


def many_files(folder: Path, files: int = 6, rows: int = 2000) -> list[Input]:
    folder.mkdir()
    for f in range(files):
        write_jsonl(
            folder / f"{f}.jsonl",
            [{"prompt": f"问{n % (rows - 7)}在{f % 3}", "response": f"答{n}" * 20} for n in range(rows)],
        )
    return [Input(str(folder / "*.jsonl"), source="all"), Input(str(folder / "0.jsonl"), source="all")]


def content(clean: Path) -> Any:
    known = manifest(clean)
    assert known is not None
    return known["files"]


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything small, so that little text goes the ways of much."""
    monkeypatch.setattr("pipeline.clean.engines.WORTH_A_POOL", 0)
    monkeypatch.setattr("pipeline.clean.stage.PIECE_BYTES", 40_000)
    monkeypatch.setattr("pipeline.clean.stage.BUCKET_BYTES", 50_000)


def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = many_files(tmp_path / "raw", rows=300)
    small_pieces(monkeypatch)
    for workers in (1, 2, 7):
        run(CleanConfig(inputs=inputs, workers=workers, near=0.8), tmp_path / str(workers))
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "7")
    assert any(name.startswith("train/all-") for name in content(tmp_path / "1"))
    assert not run(CleanConfig(inputs=inputs, workers=1, near=0.8), tmp_path / "2")


def test_a_finished_part_is_not_made_again(tmp_path: Path) -> None:
    config = CleanConfig(inputs=[Input(str(write_jsonl(tmp_path / "a.jsonl", [{"text": "文"}])))])
    (piece,) = plan(config, expand(config.inputs), Store(str(tmp_path / "w")))
    read_piece(piece)
    parts = tmp_path / "w" / "features"
    before = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    read_piece(piece)
    assert before == {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert len(before) == 5


KILLED = """
import sys
from pathlib import Path
import pipeline.clean.engines, pipeline.clean.stage
from pipeline.clean.config import CleanConfig, Input
if __name__ == "__main__":
    pipeline.clean.engines.WORTH_A_POOL = 0
    pipeline.clean.stage.PIECE_BYTES, pipeline.clean.stage.BUCKET_BYTES = int(sys.argv[5]), 1_000_000
    inputs = [Input(sys.argv[1], source="all"), Input(sys.argv[2], source="all")]
    config = CleanConfig(inputs=inputs, workers=int(sys.argv[4]), near=0.8)
    pipeline.clean.stage.run(config, Path(sys.argv[3]))
"""


def killed_again_and_again(folder: Path, kills: int, workers: int, rows: int, piece: int) -> tuple[int, int]:
    """Kill the stage at random moments until it gets through; (kills, kills of a run that went on from parts)."""
    inputs = many_files(folder / "raw", rows=rows)
    script = folder / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    command = [sys.executable, str(script), inputs[0].path, inputs[1].path]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def start(name: str, workers: int) -> subprocess.Popen[bytes]:
        words = [*command, str(folder / name), str(workers), str(piece)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)

    assert start("undisturbed", workers).wait() == 0
    done = folder / "killed.building" / "features"
    pieces = len(list((folder / "undisturbed" / "features").glob("?????.json")))
    rng = random.Random(kills)
    went_on = 0
    for _ in range(kills):
        child = start("killed", workers)
        target, until = rng.randrange(pieces + 1), time.monotonic() + 60
        while child.poll() is None and len(list(done.glob("?????.json"))) < target and time.monotonic() < until:
            time.sleep(0.003)
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        child.wait()
        went_on += done.is_dir() and any(done.glob("?????.json"))
        if (folder / "killed" / "manifest.json").exists():
            shutil.rmtree(folder / "killed")
    assert start("killed", 1).wait() == 0
    assert content(folder / "killed") == content(folder / "undisturbed")
    assert not (folder / "killed" / "work").exists()
    return kills, went_on


def test_killed_and_run_again(tmp_path: Path) -> None:
    _, went_on = killed_again_and_again(tmp_path, kills=3, workers=1, rows=2000, piece=200_000)
    assert went_on


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    _, went_on = killed_again_and_again(tmp_path, kills=20, workers=2, rows=40_000, piece=1_000_000)
    assert went_on > 5


def test_seed_orders_and_splits(tmp_path: Path) -> None:
    inputs = [Input(str(write_jsonl(tmp_path / "a.jsonl", [{"text": f"文{n}"} for n in range(500)])))]
    for seed in (0, 1):
        run(CleanConfig(inputs=inputs, seed=seed), tmp_path / str(seed))
    first, second = (records(tmp_path / str(seed)) for seed in (0, 1))
    assert [r["id"] for r in first] != [r["id"] for r in second]
    assert {r["id"] for r in first} == {r["id"] for r in second}
    ids = [int(r["id"].rpartition("/")[2]) for r in records(tmp_path / "0", "train")]
    assert ids != sorted(ids)


# ---------------------------------------------------------------- what is told to a person


def test_too_many_bad_records_stop_the_stage(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": f"文{n}"} for n in range(8)] + ["{坏\n", "坏\n"])
    config = CleanConfig(inputs=[Input(str(path))])
    with pytest.raises(
        UserError, match=r"2 of 10 records cannot be read .*max_bad_ratio = 0\.1.*a\.jsonl, record 8: not JSON"
    ):
        run(config, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
    assert run(CleanConfig(inputs=[Input(str(path))], max_bad_ratio=0.2), tmp_path / "clean")


@pytest.mark.parametrize("text", ["", "[]", "\ufeff", "question,answer\n", "question,answer\n问,\n"])
def test_empty_corpus(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"empty corpus: nothing was kept of \d records.*a\.csv"):
        run(CleanConfig(inputs=[Input(str(tmp_path / "a.csv"))]), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_zero_byte_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UserError, match=r"empty corpus.*a\.parquet"):
        run(CleanConfig(inputs=[Input(str(tmp_path / "a.parquet"))]), tmp_path / "clean")
    with pytest.raises(UserError, match=r"b\.parquet: truncated or no parquet"):
        run(CleanConfig(inputs=[Input(str(tmp_path / "b.parquet"))]), tmp_path / "clean")


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    run(CleanConfig(inputs=[Input(str(write_csv(tmp_path / "my.csv", 50)))], valid=0), tmp_path / "clean")
    (shard,) = record_shards(tmp_path / "clean", "train")["my"]
    file = pq.ParquetFile(shard)
    assert kinds_in(tmp_path / "clean") == {"chat": 50}
    whole = shard.read_bytes()
    kind = file.metadata.row_group(0).column(2)
    at = min(kind.data_page_offset, kind.dictionary_page_offset or kind.data_page_offset)
    for data in (whole[:-9], whole[:at] + b"\xff" * 40 + whole[at + 40 :]):
        shard.write_bytes(data)
        for reading in (lambda: kinds_in(tmp_path / "clean"), lambda: list(read_records(shard))):
            with pytest.raises(UserError, match=r"\.parquet: damaged; delete the clean folder and run again"):
                reading()


def command(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.clean", *words], capture_output=True, text=True, env=env, cwd=cwd
    )


def test_alone_from_the_command_line(tmp_path: Path) -> None:
    write_csv(tmp_path / "my.csv", 20)
    (tmp_path / "r.yaml").write_text("clean:\n  valid: 0\n", encoding="utf-8")
    done = command("r.yaml", "clean.inputs=my.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "clean: 20 of 20 records kept (train 20) -> runs/r/clean\n"
    assert manifest(tmp_path / "runs/r/clean")["inputs"].keys() == {"my.csv", "pipeline/clean"}  # type: ignore[index]
    again = command("r.yaml", "--clean.inputs=my.csv", cwd=tmp_path)
    assert again.stdout == "clean: runs/r/clean is up to date\n"
    wrong = command("r.yaml", "clean.inputs=your.csv", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: clean.inputs: your.csv: nothing there")
    nothing = command("r.yaml", "workspace=w", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "clean.inputs is empty" in nothing.stderr
    helped = command("--help")
    assert helped.returncode == 0
    assert "clean.max_bad_ratio=0.1" in helped.stdout
