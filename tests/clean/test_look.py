"""`python -m pipeline.clean --look FILE…`: what a file is taken for, and how it would be read."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.look import look
from tests.clean.raw_files import dump, write
from utils.console import UserError

WEB = {"qid": 1, "title": "问", "desc": "怎么<br>办", "topic": "t", "star": 7, "content": "答一\n答二", "answer_id": 2}


def test_rows(tmp_path: Path) -> None:
    data = dump(tmp_path / "web.json", [WEB, WEB | {"star": None}], False).read_bytes()
    (tmp_path / "web.json.gz").write_bytes(gzip.compress(data))
    for name, packing in (("web.json", ""), ("web.json.gz", ".gz")):
        (one,) = look(str(tmp_path / name))
        assert (one.container, one.packing, one.encoding) == ("json lines", packing, "utf-8")
        assert one.size == (tmp_path / name).stat().st_size
        assert one.schema["star"] == "whole number or null"
        assert one.schema["title"] == "text"
        assert (one.reader, one.others, one.problem) == ("webtext", (), "")
        assert one.homepage == "https://github.com/brightmart/nlp_chinese_corpus"
        assert one.excerpt == ("user: 问 怎么 办", "assistant: 答一 答二")


def test_others_that_would_read_it(tmp_path: Path) -> None:
    (one,) = look(str(write(tmp_path / "a.csv", "department,title,ask,answer\n内科,题,问,答\n", "gb18030")))
    assert (one.reader, one.others, one.encoding) == ("medical", ("pairs",), "gb18030")
    assert (
        "reader    medical (Chinese medical dialogues: department, title, ask, answer); if asked to: pairs"
        in "\n".join(one.lines())
    )


def test_parquet_and_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "问" * 200}, {"role": "assistant", "content": "答"}]
    pq.write_table(pa.Table.from_pylist([{"messages": turns, "n": 1.5}]), tmp_path / "a.parquet")
    (one,) = look(str(tmp_path / "a.parquet"))
    assert (one.container, one.encoding) == ("parquet", "")
    assert one.schema == {"messages": "list of {content, role}", "n": "number"} or one.schema == {
        "messages": "list of {role, content}", "n": "number"
    }  # fmt: skip
    assert one.excerpt == ("user: " + "问" * 93 + "…", "assistant: 答")
    assert one.homepage == ""


def test_text_and_preferences(tmp_path: Path) -> None:
    (one,) = look(str(write(tmp_path / "a.txt", "第一行\n\n第二篇\n")))
    assert (one.container, one.schema, one.excerpt) == ("text", {}, ("第一行",))
    (two,) = look(str(dump(tmp_path / "b.json", [{"prompt": "问", "chosen": "好", "rejected": "坏"}], True)))
    assert two.excerpt == ("user: 问", "chosen: 好", "rejected: 坏")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\0\1\2" * 99)
    write(tmp_path / "b.json", '{"x": 1}')
    write(tmp_path / "c.csv", "")
    write(tmp_path / "d.csv", "title,reply,is_best\n题,答,1\n")
    binary, unknown, empty, named = look(str(tmp_path))
    assert binary.problem == "looks like UTF-16 or binary; save it as UTF-8"
    assert unknown.problem.startswith("no reader knows this file; it looks like JSON with keys x")
    assert (unknown.container, unknown.schema, unknown.reader) == ("json lines", {"x": "whole number"}, "")
    assert (empty.container, empty.problem, empty.lines()) == ("empty", "", [empty.name, "  format    empty"])
    assert (named.reader, named.others) == ("", ("finance",))
    assert "reader: finance" in named.problem
    with pytest.raises(UserError, match=r"no\.csv: nothing there"):
        look(str(tmp_path / "no.csv"))


def test_only_damaged_records(tmp_path: Path) -> None:
    (one,) = look(str(write(tmp_path / "a.csv", "prompt,response\n一\n二\n")))
    assert one.excerpt == ("unreadable: 1 columns where the header has 2",)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "pipeline.clean", *words],
        cwd=cwd, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(root), "LC_ALL": "zh_CN.UTF-8"},
    )  # fmt: skip


def test_the_command(tmp_path: Path) -> None:
    dump(tmp_path / "a.json", [WEB], True)
    write(tmp_path / "b.csv", "prompt,response\n问,答\n")
    done = command("--look", "a.json", "b.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a.json\n  格式" in done.stdout
    assert "读取器       pairs" in done.stdout
    assert command("--look", cwd=tmp_path).returncode == 2
    missing = command("--look", "no.csv", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (2, "error: no.csv: nothing there; correct the path\n")
    one_of_two = command("--look", "no.csv", "b.csv", cwd=tmp_path)
    assert (one_of_two.returncode, "读取器       pairs" in one_of_two.stdout) == (2, True)


def test_a_file_s_name_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    (one,) = look(str(write(tmp_path / "a\x1b[2J\n.csv", "prompt,response\n问,答\n")))
    assert one.lines()[0].endswith("a\\x1b[2J\\n.csv")
