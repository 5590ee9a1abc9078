"""Every reader on what people really have; and what one bad record does to the others."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.corpora import plain_text
from pipeline.clean.corpora.plain_text import cut
from pipeline.clean.protocol import Found, Unreadable
from tests.clean.raw_files import ENCODINGS, bad, chosen, dump, located, pairs, read, texts, write
from utils.console import UserError

# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_csv(tmp_path: Path, encoding: str, ends: str) -> None:
    text = 'Question,answer,来源\n你好,"你好呀，\n第二行，说""好""",网\n12.5米有多长？,很长。,\n'
    path = write(tmp_path / "a.csv", text.replace("\n", ends), encoding)
    assert chosen(path) == "pairs"
    items = read(path)
    second = f'你好呀，{ends}第二行，说"好"'
    assert pairs(items) == [("你好", second), ("12.5米有多长？", "很长。")]
    assert [item.meta for item in items if isinstance(item, Found)] == [{"来源": "网"}, {}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header",
    ["question|answer", "input_text|target_text", "问题|回答", "prompt|response", "ask|answer", "instruction|output",
     " Input Text |TARGET-TEXT", "id|Question|Answer"],
)  # fmt: skip
def test_csv_headers_and_delimiters(tmp_path: Path, header: str, delimiter: str) -> None:
    row = "问，；问|答,答;" if header.count("|") == 1 else "7|问，；问|答,答;"
    cells = ['"' + cell + '"' for cell in row.split("|")]
    path = write(tmp_path / "a.csv", header.replace("|", delimiter) + "\n" + delimiter.join(cells) + "\n")
    assert pairs(read(path)) == [("问，；问", "答,答;")]


def test_csv_of_texts(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "text,url\n一段文字,u\n")) == [Found(text="一段文字", meta={"url": "u"})]


def test_csv_instruction_with_input(tmp_path: Path) -> None:
    assert pairs(read(write(tmp_path / "a.csv", "instruction,input,output\n翻译,hello,你好\n说,,好\n"))) == [
        ("翻译\nhello", "你好"),
        ("说", "好"),
    ]


def test_csv_without_a_header(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv: columns 你好, 你好呀; understood are question/answer, .*问题/回答"):
        read(write(tmp_path / "a.csv", "你好,你好呀\n在吗,在的\n"))


def test_csv_with_chinese_commas(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="write its commas as , instead of ，"):
        read(write(tmp_path / "a.csv", "问题，回答\n你好，你好呀\n"))


def test_csv_bad_rows_do_not_hurt_their_neighbours(tmp_path: Path) -> None:
    rows = ["question,answer", "一,甲", '二,"没有关上的引号', "三,丙", "四", "Hi,Hello, friend", "五,戊", "六,己,,"]
    items = read(write(tmp_path / "a.csv", "\n".join(rows) + "\n"))
    assert pairs(items) == [("一", "甲"), ("三", "丙"), ("五", "戊"), ("六", "己")]
    assert [item.excerpt.strip() for item in bad(items)] == ['二,"没有关上的引号', "四", "Hi,Hello, friend"]
    assert bad(items)[1].reason == "1 columns where the header has 2"


def test_csv_a_quote_never_closed_costs_one_row_of_many(tmp_path: Path) -> None:
    rows = ["question,answer", '一,"甲', *(f"问{n},答{n}" for n in range(3000))]
    items = read(write(tmp_path / "a.csv", "\n".join(rows)))
    assert len(pairs(items)) == 3000
    assert len(bad(items)) == 1


def test_csv_one_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("question,answer\n你好啊，今天好吗,很好\n坏".encode() + b"\xff\xfe" + "字,坏\n最后,好\n".encode())
    items = read(path)
    assert pairs(items) == [("你好啊，今天好吗", "很好"), ("最后", "好")]
    assert [item.reason for item in bad(items)] == ["bytes that are not utf-8"]


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize("as_list", [True, False])
def test_alpaca(tmp_path: Path, as_list: bool) -> None:
    values = [
        {"instruction": "翻译", "input": "hello", "output": "你好", "id": 7},
        {"instruction": "说", "input": "", "output": ["好", "不好"]},
        {"instruction": "说", "output": None},
        {"instruction": "说", "output": {"a": 1}},
        {"instruction": "少一个"},
    ]
    path = dump(tmp_path / "a.json", values, as_list)
    assert chosen(path) == "alpaca"
    items = read(path)
    assert pairs(items) == [("翻译\nhello", "你好"), ("说", "好"), ("说", "")]
    assert [item.reason for item in bad(items)] == ["output holds a dict, not text", "no output"]
    assert isinstance(items[0], Found)
    assert items[0].meta == {"id": 7}


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize(
    ("question", "answer"),
    [("question", "answer"), ("prompt", "response"), ("input", "target"), ("query", "response"), ("问题", "回答")],
)
def test_json_pairs(tmp_path: Path, question: str, answer: str, as_list: bool) -> None:
    path = dump(tmp_path / "a.json", [{question: "问", answer: "答"}, {"x": 1}], as_list)
    assert chosen(path) == "pairs"
    assert pairs(read(path)) == [("问", "答")]
    assert len(bad(read(path))) == 1


@pytest.mark.parametrize("as_list", [True, False])
def test_json_text(tmp_path: Path, as_list: bool) -> None:
    path = dump(tmp_path / "a.jsonl", [{"text": "一\n二", "url": "u"}, {"text": 3}, "x"], as_list)
    assert chosen(path) == "text"
    items = read(path)
    assert items[0] == Found(text="一\n二", meta={"url": "u"})
    assert len(bad(items)) == 2


def test_gb18030_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "从前有座山"}\n', "gb18030")
    assert read(path) == [Found(text="从前有座山")]


def test_damaged_json_lines(tmp_path: Path) -> None:
    items = read(
        write(tmp_path / "a.jsonl", '{"text": "一"}\n{"text": "二"\n\n{"text": "三"}\n[[[[\n{"text": "四\\ud83d"}')
    )
    assert [item.text for item in items if isinstance(item, Found)] == ["一", "三", "四\ud83d"]
    assert [item.excerpt for item in bad(items)] == ['{"text": "二"', "[[[["]
    assert bad(items)[0].reason.startswith("not JSON: Expecting ',' delimiter")


def test_damaged_json_list(tmp_path: Path) -> None:
    """Far behind the first piece that is read, and cut short at the end."""
    values = [json.dumps({"text": f"第{n}篇" + "长" * 200}, ensure_ascii=False) for n in range(500)]
    values[300] = values[300].replace('": "', '": ')
    whole = write(tmp_path / "a.json", "[" + ",\n ".join(values) + "]")
    items = read(whole)
    assert len(items) == 500
    assert [i for i, item in enumerate(items) if isinstance(item, Unreadable)] == [300]
    short = write(tmp_path / "b.json", "[" + ",\n ".join(values)[:-20])
    items = read(short)
    assert [i for i, item in enumerate(items) if isinstance(item, Unreadable)][:2] == [300, 499]
    assert any("cut short" in item.reason for item in bad(items))


def test_a_long_record_in_a_list(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.json", [{"text": "长" * 1_000_000}, {"text": "短"}], True)
    assert [len(item.text or "") for item in read(path) if isinstance(item, Found)] == [1_000_000, 1]


@pytest.mark.parametrize("as_list", [True, False])
def test_conversations(tmp_path: Path, as_list: bool) -> None:
    values = [
        {
            "conversations": [
                {"role": "system", "content": "听话", "tools": '[{"name": "f"}]'},
                {"role": "user", "content": "算"},
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "想",
                    "tool_calls": '[{"name":"f","arguments":{"x":1}}]',
                },
                {"role": "tool", "content": "2"},
                {"role": "assistant", "content": "是 2"},
                {"role": "user", "content": "没有回答的"},
            ],
            "id": 9,
        },
        {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "你好呀"}], "system": "友好"},
        {"conversations": [{"from": "gpt", "value": "先说"}, {"from": "human", "value": "后说"}]},
        {"conversations": [{"from": "human", "value": "只问"}]},
        {"conversations": "不是列表"},
        {"conversations": [{"from": "alien", "value": "哔"}]},
        {"conversations": [{"from": "human", "value": 3}]},
    ]
    path = dump(tmp_path / "a.jsonl", values, as_list)
    assert chosen(path) == "conversations"
    items = read(path)
    first = items[0]
    assert isinstance(first, Found)
    assert first.messages is not None
    assert first.tools is not None
    assert [m["role"] for m in first.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert first.messages[2]["reasoning"] == "想"
    assert json.loads(first.messages[2]["tool_calls"]) == [{"name": "f", "arguments": {"x": 1}}]
    assert json.loads(first.tools) == [{"name": "f"}]
    assert first.meta == {"id": 9}
    assert pairs(items)[1] == ("友好", "你好", "你好呀")
    assert [item.reason for item in bad(items)] == [
        "assistant turn at the beginning",
        "no assistant turn",
        "no list of turns under conversations or messages or conversation",
        "unknown role 'alien'",
        "the content of a turn is a int, not text",
    ]


def test_sharegpt_function_calls(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "开张发票"},
        {"from": "function_call", "value": '{"name": "invoice", "arguments": "{\\"n\\": 2}"}'},
        {"from": "observation", "value": '{"id": 1}'},
        {"from": "gpt", "value": "好了"},
    ]
    (item,) = read(dump(tmp_path / "a.json", [{"conversations": turns, "tools": '[{"name": "invoice"}]'}], True))
    assert isinstance(item, Found)
    assert item.messages is not None
    assert [m["role"] for m in item.messages] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(item.messages[1]["tool_calls"]) == [{"name": "invoice", "arguments": {"n": 2}}]


@pytest.mark.parametrize(
    ("said", "reasoning", "content"),
    [
        ("<think>\n一加一\n</think>\n\n二。", "一加一", "二。"),
        (" <think>想</think>二", "想", "二"),
        ("<think>\n\n</think>\n\n二。", None, "二。"),
        ("标签 <think>a</think> 是标记", None, "标签 <think>a</think> 是标记"),
        ("<think>没有想完", None, "<think>没有想完"),
    ],
)
def test_a_thought_at_the_beginning_of_an_answer(
    said: str, reasoning: str | None, content: str, tmp_path: Path
) -> None:
    """As models that think write it into what they say: in dialogues, and in pairs."""
    turns = [{"from": "human", "value": f"问 {said}"}, {"from": "gpt", "value": said}]
    for row in ({"conversations": turns}, {"instruction": f"问 {said}", "output": said}):
        (item,) = read(dump(tmp_path / f"{len(row)}.json", [row], True))
        assert isinstance(item, Found)
        assert item.messages is not None
        asked, answered = item.messages
        assert (asked["content"], asked["reasoning"]) == (f"问 {said}", None)
        assert (answered["content"], answered["reasoning"]) == (content, reasoning)


# ---------------------------------------------------------------- parquet, plain text


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = {"INSTRUCTION": ["问", "空"], "RESPONSE": ["答", None], "SOURCE": ["网", None]}
    pq.write_table(pa.table(table), path)
    assert chosen(path) == "pairs"
    assert located(path)[1][0] == 1
    assert pairs(read(path)) == [("问", "答"), ("空", "")]
    pq.write_table(pa.table({"text": ["文"]}), path)
    assert read(path) == [Found(text="文")]
    turns = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    pq.write_table(pa.table({"messages": [turns]}), path)
    assert pairs(read(path)) == [("问", "答")]
    pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    with pytest.raises(UserError, match="columns a, b; understood are"):
        read(path)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["文"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"a\.parquet: truncated or no parquet; copy it again"):
        read(path)
    (item,) = read(path, "text")
    assert isinstance(item, Unreadable)
    assert item.reason.startswith("truncated or no parquet")


def test_rows_of_a_damaged_row_group_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"文{n}" for n in range(30)]}), path, row_group_size=10, use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    items = read(path)
    assert [item.text for item in items if isinstance(item, Found)] == [f"文{n}" for n in (*range(10), *range(20, 30))]
    assert len(bad(items)) == 10
    assert "damaged parquet" in bad(items)[0].reason


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_plain_text(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", "题目\r\n第一段。\r\n\r\n \r\n第二篇。\r\n\r\n\r\n", encoding)
    assert texts(read(path)) == ["题目\n第一段。\n", "第二篇。\n"]


def test_plain_text_without_blank_lines_is_one_document(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "a.txt", "一\n二\n三"))) == 1


def test_long_documents_are_cut_at_line_ends_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "LONGEST", 100)
    lines = [f"第{n}行。" + "字" * 20 + "\n" for n in range(100)]
    items = read(write(tmp_path / "a.txt", "".join(lines) + "\n另一篇"))
    found = [item for item in items if isinstance(item, Found)]
    assert "".join(item.text or "" for item in found) == "".join(lines) + "另一篇"
    assert all(len(item.text or "") <= 100 and (item.text or "").endswith("\n") for item in found[:-1])
    assert len({item.siblings for item in found[:-1]}) == 1
    assert found[-1].siblings == ""


def test_cut_a_line_without_ends() -> None:
    assert cut("一二。三四。五六", 4) == ["一二。", "三四。", "五六"]
    assert cut("一" * 10, 4) == ["一一一一", "一一一一", "一一"]
