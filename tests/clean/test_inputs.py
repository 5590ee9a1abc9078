"""Inputs as typed: a path, a folder or a glob becomes files, or one line says why not."""

from __future__ import annotations

import bz2
import gzip
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import Input, Rules
from pipeline.clean.inputs import expand, remote_fingerprint
from pipeline.clean.readers import items
from pipeline.recipe import from_command_line
from tests.clean.raw_files import dump, pairs, read, write
from utils.console import UserError


def test_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("raw/b.txt", "raw/a.txt", "raw/deep/a.txt", "raw/.hidden/c.txt", "raw/readme.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write(Path(name), "文")
    folder = expand([Input("raw")])
    assert [(raw.name, raw.source, raw.label) for raw in folder] == [
        ("raw/a.txt", "raw", "raw/a.txt"),
        ("raw/b.txt", "raw", "b.txt"),
        ("raw/deep/a.txt", "raw", "raw/deep/a.txt"),
    ]
    by_glob = expand([Input("raw/*.txt"), Input("raw/b.txt")])
    assert [(raw.name, raw.source, raw.reader) for raw in by_glob] == [
        ("raw/a.txt", "a", "plain_text"),
        ("raw/b.txt", "b", "plain_text"),
    ]
    assert expand([Input("raw/a.txt", source="我的 语料/1")])[0].source == "我的_语料_1"
    assert expand([Input(str(tmp_path / "raw" / "a.txt"))])[0].name == (tmp_path / "raw" / "a.txt").as_posix()


def test_expand_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "a.txt", "文")
    for inputs, said in [
        ([], "clean.inputs is empty; name a corpus"),
        ([Input("no/such.csv")], "no/such.csv: nothing there"),
        ([Input("no/*.csv")], r"no/\*.csv: nothing there"),
        ([Input(str(tmp_path / "empty"))], "no file in this folder can be read"),
        ([Input("hf://name")], "hf://name: give hf://owner/name"),
        ([Input("nowhere://bucket/a.csv")], "nowhere://bucket/a.csv: Protocol not known: nowhere"),
        ([Input(str(tmp_path / "a.txt"), reader="txt")], "unknown reader txt; "),
    ]:
        with pytest.raises(UserError, match=said):
            expand(inputs)


ROWS = [{"prompt": f"第{n}问", "response": f"第{n}答"} for n in range(50)]
WANTED = [(row["prompt"], row["response"]) for row in ROWS]


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    row = {"qid": 1, "title": "问", "desc": "", "topic": "t", "star": 7, "content": "答"}
    path = dump(tmp_path / "web.json", [row], False)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    raw, table = expand(
        [Input(str(path)), Input(str(tmp_path / "a.parquet"), profile="prose", rules=Rules(min_chars=3))]
    )
    assert (raw.reader, raw.profile, raw.encoding, raw.size) == ("webtext", "web", "utf-8", path.stat().st_size)
    assert raw.rules == Rules(min_score=5, min_chars=15, max_chars=100_000, near=0.8)
    assert raw.card.homepage == "https://github.com/brightmart/nlp_chinese_corpus"
    assert (table.reader, table.profile, table.encoding) == ("pairs", "prose", "")
    assert table.rules == Rules(min_chars=1, max_chars=100_000)
    assert table.input.rules == Rules(min_chars=3)
    assert pickle.loads(pickle.dumps(raw)) == raw
    assert next(items(raw.sample(), raw.reader))[0] == 0


def test_packed_files_in_a_folder(tmp_path: Path) -> None:
    lines = dump(tmp_path / "a.jsonl", ROWS, False).read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.md.gz").write_bytes(gzip.compress(lines))
    raws = expand([Input(str(tmp_path))])
    assert [raw.label for raw in raws] == ["a.jsonl", "b.jsonl.gz"]
    assert [raw.source for raw in expand([Input(str(tmp_path / "b.jsonl.gz"))])] == ["b"]
    assert pairs(read(raws[1].name)) == WANTED


NOTHING = [b"", b" \n", b"\xef\xbb\xbf", b"[]", b"\xff\xfe[\0]\0"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b""), *((name, one) for name in ("a.csv", "a.json", "a.jsonl", "a.txt") for one in NOTHING)],
)
def test_empty_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for reader in ("auto", "pairs"):
        (raw,) = expand([Input(str(tmp_path / name), reader=reader)])
        assert (raw.reader, raw.problem, raw.card.homepage) == ("", "", "")


def test_a_table_without_rows(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"prompt": pa.array([], pa.string()), "x": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    assert expand([Input(str(tmp_path / "a.parquet"))])[0].reader == ""
    (raw,) = expand([Input(str(write(tmp_path / "a.csv", "prompt,response\n")))])
    assert raw.reader == "pairs"
    assert read(raw.name) == []


# ---------------------------------------------------------------- one bad file among many


def test_a_problem_of_one_of_many_stops_nothing(tmp_path: Path) -> None:
    dump(tmp_path / "a.jsonl", ROWS, False)
    write(tmp_path / "b.json", '{"x": 1}')
    (tmp_path / "c.csv").write_bytes(b"\0\1\2\3" * 100)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 und dann nichts")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b"text")[:11])
    for typed in (tmp_path, tmp_path / "*"):
        raws = expand([Input(str(typed))])
        assert [raw.reader for raw in raws] == ["pairs", "", "", "", ""]
        assert raws[0].problem == ""
        for raw, told in zip(
            raws[1:],
            ["looks like JSON with keys x", "UTF-16 or binary", "truncated or no parquet", "damaged ("],
            strict=True,
        ):
            assert told in raw.problem
            assert Path(raw.name).name in raw.problem
        assert all(raw.size for raw in raws)
    for name in ("b.json", "c.csv", "d.parquet", "e.jsonl.gz"):
        with pytest.raises(UserError, match=name):
            expand([Input(str(tmp_path / name))])
    with pytest.raises(UserError, match="unknown reader nope"):
        expand([Input(str(tmp_path), reader="nope")])


def test_nothing_but_problems(tmp_path: Path) -> None:
    write(tmp_path / "b.json", '{"x": 1}')
    write(tmp_path / "c.json", '{"y": 1}')
    with pytest.raises(UserError, match=r"none of its files can be read; .*b\.json: no reader knows this file"):
        expand([Input(str(tmp_path))])


def test_a_glob_takes_no_folders(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    dump(tmp_path / "b.json", ROWS, True)
    assert [raw.label for raw in expand([Input(str(tmp_path / "*.json"))])] == ["b.json"]


# ---------------------------------------------------------------- what is not there


def test_a_corpus_that_is_known_can_be_got(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        expand([Input(str(tmp_path / "web_text_zh_train.json"))])
    for fact in ("web_text_zh_train.json: nothing there", "it counts from", "github.com/brightmart/nlp_chinese_corpus",
                 "web_text_zh_*.json", "3.7 GB", "licence MIT", "clean.missing=skip runs with what"):  # fmt: skip
        assert fact in str(told.value)
    with pytest.raises(UserError, match=r"huggingface\.co/datasets/wangrui6/Zhihu-KOL \(train-"):
        expand([Input(str(tmp_path / "*.parquet"), reader="zhihu")])
    with pytest.raises(UserError) as told:
        expand([Input(str(tmp_path / "mine.json"))])
    assert "missing=skip" not in str(told.value)


@pytest.mark.parametrize("language", ["C", "zh_CN.UTF-8"])
def test_skipping_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    monkeypatch.delenv("LANGUAGE", raising=False)
    path = dump(tmp_path / "a.jsonl", ROWS, False)
    inputs = [Input(str(tmp_path / "baike_qa_train.json")), Input(str(path)), Input("memory://nowhere/x.json")]
    with pytest.raises(UserError, match="missing=skip"):
        expand(inputs)
    (raw,) = expand(inputs, "skip")
    assert raw.name == path.as_posix()
    said = capsys.readouterr().err
    assert "github.com/brightmart/nlp_chinese_corpus" in said
    assert "memory://nowhere/x.json" in said
    assert ("不存在，已跳过" in said) == (language != "C")
    with pytest.raises(UserError, match="not one of the inputs is there"):
        expand(inputs[::2], "skip")


def test_the_recipe_of_seven_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of them is there is read, by the reader that is meant for it."""
    _, _, recipe = from_command_line(["configs/chatlm.yaml"])
    monkeypatch.chdir(tmp_path)
    folder = Path("data/chatlm")
    (folder / "medical").mkdir(parents=True)
    (folder / "zhihu").mkdir()
    web = {"qid": 1, "title": "问", "desc": "", "topic": "t", "star": 7, "content": "答"}
    dump(folder / "web_text_zh_train.json", [web], False)
    dump(folder / "train_2M_CN.json", [{"instruction": "问", "input": "", "output": "答"}], False)
    write(folder / "medical" / "内科5000-33000.csv", "department,title,ask,answer\n内科,题,问,答\n", "gb18030")
    pq.write_table(
        pa.table({"INSTRUCTION": ["问"], "RESPONSE": ["答"], "METADATA": ["{}"]}), folder / "zhihu" / "a.parquet"
    )
    xml = "<mediawiki><page><title>问</title><ns>0</ns><revision><text>答</text></revision></page></mediawiki>"
    (folder / "zhwiki-latest-pages-articles.xml.bz2").write_bytes(bz2.compress(xml.encode()))
    raws = expand(recipe.clean.inputs, recipe.clean.missing)
    assert [(raw.source, raw.reader) for raw in raws] == [
        ("webtext", "webtext"), ("medical", "medical"), ("zhihu", "zhihu"), ("belle_2m", "belle"), ("wiki", "wiki_qa")
    ]  # fmt: skip
    assert [told for raw in raws for _, told in pairs(read(raw.name, raw.reader))] == ["答"] * 5
    assert all(card.names(Path(raw.name).name) for raw in raws if (card := raw.card).files and raw.reader != "zhihu")


# ---------------------------------------------------------------- elsewhere


def test_urls(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.jsonl", ROWS, False)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    memory = fsspec.filesystem("memory")
    for name in ("corpus/a.jsonl", "corpus/deep/b.jsonl.gz", "corpus/.hidden/a.jsonl", "corpus/read.me"):
        memory.pipe(f"/{name}", (tmp_path / Path(name).name).read_bytes() if "read" not in name else b"x")
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), table)
    memory.pipe("/corpus/c.parquet", table.getvalue().to_pybytes())
    for typed, labels, source in [
        (f"file://{path.as_posix()}", ["a.jsonl"], "a"),
        (f"file://{tmp_path.as_posix()}", ["a.jsonl", "b.jsonl.gz"], tmp_path.name),
        (f"file://{tmp_path.as_posix()}/*.gz", ["b.jsonl.gz"], "b"),
        ("memory://corpus/a.jsonl", ["a.jsonl"], "a"),
        ("memory://corpus", ["a.jsonl", "c.parquet", "b.jsonl.gz"], "corpus"),
        ("memory://corpus/*.parquet", ["c.parquet"], "c"),
    ]:
        raws = expand([Input(typed)])
        assert [raw.label for raw in raws] == labels
        assert {raw.source for raw in raws} == {source.replace("-", "_")}
        for raw in raws:
            assert raw.size
            assert pairs(read(raw.name)) == WANTED
            assert remote_fingerprint(raw.name)["size"] == raw.size
    with pytest.raises(UserError, match=r"memory://corpus/no\.csv: nothing there; correct the path$"):
        expand([Input("memory://corpus/no.csv")])
    memory.rm("/corpus", recursive=True)


def test_a_web_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http(s) with aiohttp")
    dump(tmp_path / "a.jsonl", ROWS, False)
    handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/a.jsonl?download=true"
    (raw,) = expand([Input(url)])
    assert (raw.source, raw.reader) == ("a", "pairs")
    assert pairs(read(raw.name)) == WANTED
    with pytest.raises(UserError, match=r"b\.jsonl: nothing there"):
        expand([Input(url.replace("a.jsonl", "b.jsonl"))])
    server.shutdown()
    server.server_close()
