"""Scores, replies and the story of the training come in; one page goes out. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluate.life import Life, held_out
from pipeline.evaluate.scores import Reply
from utils.charts import bars, curves
from utils.console import tell
from utils.page import Answer, Section, facts, folded, meter, page, paragraph, percent, qa, table
from utils.stage import Json

OPEN_FAILURES, MOST_FAILURES = 12, 200


def render(report: Json, replies: Sequence[Reply], life: Life) -> str:
    """The page of one model's life."""
    sections = [
        _scores(report, life),
        _answers(report),
        _reading(life),
        _training(life),
        _failures(replies),
    ]
    size = f"{report['parameters'] / 1e6:.1f}"
    lead = tell(
        f"A model of {size} million parameters and a vocabulary of {report['vocabulary']:,}: "
        "what it read, how it learned, and what it says.",
        f"{size} 百万参数，词表 {report['vocabulary']:,}：它读过什么，怎样学会，又能说些什么。",
    )
    return page(tell("The life of a model", "一个模型的成长"), [s for s in sections if s], lead)


def _interval(part: Json) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in part["interval"])
    return tell(
        f"{part['exact']} of {part['asked']}; 95 % interval {low}–{high}",
        f"{part['exact']} / {part['asked']}，95 % 区间 {low}–{high}",
    )


# ---------------------------------------------------------------- sections


def _scores(report: Json, life: Life) -> Section:
    tiles: dict[str, object] = {}
    recall = report["recall"]
    if recall:
        tiles[tell("Trained questions", "学过的问题")] = percent(recall["share"]), _interval(recall)
    for exam in report["exams"]:
        tiles[exam["name"]] = percent(exam["share"]), _interval(exam)
    for verb, lines in life.training.items():
        if bpb := held_out(lines).get("all"):
            name = tell(f"Held out, {verb}", f"留出文本（{verb}）")
            tiles[name] = f"{bpb:.3f}", tell("bits per byte", "比特 / 字节")
    blocks = [facts(tiles)] if tiles else []
    taught, exam_name = tell("trained", "学过"), tell("exam", "考卷")
    rows = [_score_row(taught, name, part) for name, part in (recall or {"sources": {}})["sources"].items()]
    rows += [_score_row(exam_name, exam["name"], exam) for exam in report["exams"]]
    if rows:
        head = [
            "",
            tell("questions from", "题目来自"),
            tell("asked", "题数"),
            tell("exact", "全对"),
            tell("share", "比例"),
            tell("similarity", "相似度"),
            "",
        ]
        blocks.append(table(head, rows))
    if recall and recall["ambiguous"]:
        blocks.append(
            paragraph(
                tell(
                    f"{recall['ambiguous']} of the trained questions were taught with more than one answer; "
                    "not all of these can come back.",
                    f"学过的问题里有 {recall['ambiguous']} 题教过不止一种回答，它们不可能全部复现。",
                )
            )
        )
    note = tell(
        "Asked greedily. A reply counts only if it is equal to the last character; similarity is the share of "
        "characters in common, in order. Held-out bits per byte say how well text is foretold that was not learned "
        "from: less is better, and who learns few dialogues by heart foretells others worse.",
        "贪心解码；一字不差才算答对。相似度是按顺序相同的字符所占的比例。"
        "留出文本的比特 / 字节衡量模型预测没学过的文本的本事，越小越好；只背熟少量对话的模型，预测别的对话反而更差。",
    )
    if report["base"]:
        note = tell(
            "Only pretrained: it goes on with a text and was not asked questions.",
            "只经过预训练：它续写文本，未参加问答。",
        )
    return Section(tell("Scores", "成绩"), blocks, note)


def _score_row(kind: str, name: str, part: Json) -> list[object]:
    bar = meter(part["share"], *part["interval"])
    return [kind, name, part["asked"], part["exact"], percent(part["share"]), f"{part['similarity']:.2f}", bar]


def _answers(report: Json) -> Section | None:
    if not report["answers"]:
        return None
    shown = [
        Answer(answer["question"], answer["answer"], note=taught_note(report, answer)) for answer in report["answers"]
    ]
    return Section(tell("What it says", "它怎么说"), [qa(shown)])


def taught_note(report: Json, answer: Json) -> str:
    """Was this question among the trained ones? Of a base model, which took no questions, nothing is said."""
    if report["base"]:
        return ""
    return tell("taught", "教过") if answer["taught"] else tell("not taught", "没教过")


def _reading(life: Life) -> Section | None:
    blocks: list[str] = []
    clean = life.clean
    if clean:
        dropped = sum(clean.get("dropped", {}).values())
        tiles: dict[str, object] = {
            tell("Records read", "读入记录"): clean["read"],
            tell("Kept", "留下"): clean["kept"],
        }
        tiles |= {tell("Dropped", "去除"): dropped, tell("Unreadable", "无法读取"): clean["quarantined"]}
        blocks.append(facts(tiles))
        kept = {name: part["kept"] for name, part in clean.get("sources", {}).items()}
        if len(kept) > 1:
            blocks.append(bars(kept, tell("Records kept, by source", "各来源留下的记录")))
    rows = []
    for verb in ("pretrain", "finetune"):
        for split, sources in life.pack.get(verb, {}).items():
            total = {
                name: sum(s[name] for s in sources.values()) for name in ("documents", "tokens", "trained", "bytes")
            }
            density = f"{total['bytes'] / total['tokens']:.2f}" if total["tokens"] else "–"
            rows.append([verb, split, total["documents"], total["tokens"], total["trained"], density])
    if rows:
        head = [
            tell("for", "用于"),
            tell("split", "划分"),
            tell("documents", "篇数"),
            tell("tokens", "词元"),
            tell("trained", "参与训练的词元"),
            tell("bytes a token", "字节 / 词元"),
        ]
        blocks.append(table(head, rows))
    return Section(tell("What it read", "它读过什么"), blocks) if blocks else None


def _training(life: Life) -> Section | None:
    blocks: list[str] = []
    for verb, lines in life.training.items():
        steps = [line for line in lines if "loss" in line]
        if not steps:
            continue
        seconds = sum(line.get("seconds", 0) for line in steps)
        tokens = steps[-1].get("tokens", 0)
        blocks.append(
            facts(
                {
                    tell(f"{verb}: steps", f"{verb}：步数"): steps[-1]["step"],
                    tell("trained tokens", "参与训练的词元"): tokens,
                    tell("time", "用时"): duration(seconds),
                    tell("tokens a second", "词元 / 秒"): round(tokens / seconds) if seconds else "–",
                }
            )
        )
        title = tell(f"{verb}: loss, nats a token", f"{verb}：损失（纳特 / 词元）")
        blocks.append(curves({verb: [(s["step"], s["loss"]) for s in steps]}, title, tell("step", "步"), smooth=True))
        looks = [line for line in lines if line.get("bpb")]
        if len(looks) > 1:
            names = looks[-1]["bpb"]
            series = {
                name: [(look["step"], look["bpb"][name]) for look in looks if name in look["bpb"]] for name in names
            }
            title = tell(f"{verb}: held-out bits per byte", f"{verb}：留出文本每字节比特")
            blocks.append(curves(series, title, tell("step", "步")))
    return Section(tell("How it learned", "它怎样学会"), blocks) if blocks else None


def duration(seconds: float) -> str:
    """A time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return tell(f"{seconds:.0f} s", f"{seconds:.0f} 秒")
    if whole < 3600:
        return tell(f"{whole // 60} min {whole % 60:02d} s", f"{whole // 60} 分 {whole % 60:02d} 秒")
    return tell(f"{whole // 3600} h {whole % 3600 // 60:02d} min", f"{whole // 3600} 小时 {whole % 3600 // 60:02d} 分")


def _failures(replies: Sequence[Reply]) -> Section | None:
    wrong = [reply for reply in replies if not reply.exact]
    if not wrong:
        return None
    shown = [Answer(r.question, r.said, r.expected, False, r.source) for r in wrong[:MOST_FAILURES]]
    blocks: list[str] = [qa(shown[:OPEN_FAILURES])]
    if rest := shown[OPEN_FAILURES:]:
        blocks.append(folded(tell(f"{len(rest)} more", f"另外 {len(rest)} 题"), qa(rest)))
    note = tell(
        f"{len(wrong)} replies differ from what was expected; all of them are in replies.jsonl.",
        f"{len(wrong)} 个回答与应答不同；全部在 replies.jsonl 里。",
    )
    return Section(tell("Where it errs", "它错在哪里"), blocks, note)
