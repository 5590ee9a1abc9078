"""Where records begin, and parts of files that are read apart."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.files.json_files import lines
from pipeline.clean.files.rows import cuts
from pipeline.clean.protocol import Sample, Unreadable
from tests.clean.raw_files import ENCODINGS, dump, located, pairs, read, texts, write

PLAIN = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
TEXTS = ["第一段，很短", "two\nlines", "𠮷野家", "", "é" * 9, '引"号"', "最后"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("as_list", [True, False])
def test_json_records_begin_where_they_say(tmp_path: Path, encoding: str, as_list: bool) -> None:
    values = [json.dumps({"text": text, "n": n}, ensure_ascii=False) for n, text in enumerate(TEXTS)]
    values[3] = '{"text": "坏'
    text = "[ " + ",\r\n  ".join(values) + " ]" if as_list else "\r\n  ".join(["", *values, "", ""])
    data = write(tmp_path / "a.json", text, encoding).read_bytes()
    found = located(tmp_path / "a.json")
    assert len(texts([item for _, item in found])) == len(TEXTS) - 1
    for at, item in found:
        beginning = data[at:].decode(PLAIN.get(encoding, encoding), "replace")
        if isinstance(item, Unreadable):
            assert beginning.startswith(item.excerpt[:5])
        else:
            assert json.loads(beginning[: beginning.find("}") + 1])["text"] == item.text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_csv_rows_begin_where_they_say(tmp_path: Path, encoding: str, ends: str) -> None:
    rows = ["问题,回答", '第一,"一\n二"', "", '第二,"没有关上', "第三,𠮷", "少一列", "第四,é"]
    data = write(tmp_path / "a.csv", ends.join(rows), encoding).read_bytes()
    found = located(tmp_path / "a.csv")
    begins = [data[at:].decode(PLAIN.get(encoding, encoding))[:2] for at, _ in found]
    assert begins == ["第一", "第二", "第三", "少一", "第四"]
    assert [isinstance(item, Unreadable) for _, item in found] == [False, True, False, True, False]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_documents_begin_where_they_say(tmp_path: Path, encoding: str, ends: str) -> None:
    data = write(tmp_path / "a.txt", ends.join(["", "第一篇", "𠮷", "", " ", "第二篇"]), encoding).read_bytes()
    found = located(tmp_path / "a.txt")
    assert [data[at:].decode(PLAIN.get(encoding, encoding))[:3] for at, _ in found] == ["第一篇", "第二篇"]
    assert texts(read(tmp_path / "a.txt")) == ["第一篇\n𠮷\n", "第二篇"]


# ---------------------------------------------------------------- parts

LINE = st.one_of(
    st.text(max_size=30).map(lambda text: json.dumps({"text": text}, ensure_ascii=False)),
    st.sampled_from(["", "  ", "{坏", '{"x": 1}', '{"text": "长' + "长" * 300 + '"}', "\r"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=12), st.data(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_parts_of_json_lines_make_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], data: st.DataObject, ended: bool, ends: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "parts.jsonl"
    raw = ("\ufeff" + ends.join(rows) + (ends if ended else "")).encode("utf-8", "surrogatepass")
    path.write_bytes(raw)
    whole = located(path, "text")
    places = sorted(data.draw(st.sets(st.integers(1, len(raw) + 3), max_size=6)))
    parts = zip([0, *places], [*places, None], strict=True)
    assert [one for start, end in parts for one in located(path, "text", start, end)] == whole


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 400))
def test_cuts_of_json_lines(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = dump(tmp_path_factory.getbasetemp() / "cuts.jsonl", [{"text": "文" * n} for n in range(12)], False)
    sample = Sample(str(path))
    found = cuts(sample, path.stat().st_size, size)
    assert len(found) == -(-path.stat().st_size // size)
    assert sum(cut.bytes for cut in found) == path.stat().st_size
    assert [one for cut in found for one in located(path, "auto", cut.start, cut.end)] == located(path)


def test_parts_of_parquet(tmp_path: Path) -> None:
    rows = [{"text": f"文{n}"} for n in range(95)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=10)
    sample = Sample(str(tmp_path / "a.parquet"))
    size = (tmp_path / "a.parquet").stat().st_size
    found = cuts(sample, size, 250)
    assert len(found) > 3
    assert size - len(found) <= sum(cut.bytes for cut in found) <= size
    parts = [one for cut in found for one in located(sample.name, "auto", cut.start, cut.end)]
    assert parts == located(sample.name)
    assert [at for at, _ in parts] == list(range(95))


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.txt", "b.txt"])
def test_what_cannot_be_cut_is_read_once(tmp_path: Path, name: str) -> None:
    """Even if somebody cuts it, or names a reader that takes no rows."""
    content = {
        "a.json": json.dumps([{"text": "文"}] * 50),
        "a.csv": "text,n\n" + "文,1\n" * 50,
        "a.txt": "{第一章}\n" + "文\n\n" * 50,
        "b.txt": '{"text": "文"}\n\n' * 50,
    }[name]
    path = write(tmp_path / name, content)
    reader = "plain_text" if name == "b.txt" else "auto"
    found = cuts(Sample(str(path)), path.stat().st_size, 100)
    assert (len(found) == 1) == (name != "b.txt")
    assert [one for cut in found for one in located(path, reader, cut.start, cut.end)] == located(path, reader)


def test_a_line_without_end(tmp_path: Path) -> None:
    """More than a record may be: skipped in pieces, and the next line is read."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * (1 << 26) + b'"}\n{"prompt": "q", "response": "a"}\n')
    found = located(path, "pairs")
    assert isinstance(found[0][1], Unreadable)
    assert found[0][1].reason == "a line of more than 33,554,432 bytes"
    assert pairs([found[1][1]]) == [("q", "a")]
    assert path.read_bytes()[found[1][0] :].startswith(b'{"prompt"')
    with path.open("rb") as file:
        assert [at for at, _ in lines(file, 1000)] == [found[1][0]]
