"""A trained model and the records it learned from come in; scores, and one page that shows its whole life, go out.

    python -m pipeline.evaluate RECIPE

Three things are asked, greedily: trained single-turn records (are they known by heart?), the exams (questions that
were not trained on), and the recipe's own questions, whose answers are shown. A model that was only pretrained has
not learned to take turns: it is asked the last alone, and goes on with the text.

`evaluate/` holds `report.json`, `report.html`, and `replies.jsonl` with every reply.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.life import Life, gather
from pipeline.evaluate.questions import Question, Taught, key, read_exam, read_taught
from pipeline.evaluate.report import render, taught_note
from pipeline.evaluate.scores import Reply, by_source, score
from utils.chat import conversation
from utils.codec import Codec
from utils.console import UserError, progress, say, tell
from utils.encoders import FAST, SPM
from utils.memory import kept_for_good
from utils.published import check, is_base, is_whole, model_of, opened, same_vocabulary, weights
from utils.stage import MANIFEST, Json, build, read_json, whole, write_json


def run_workspace(config: EvaluateConfig, workspace: Path) -> bool:
    """Evaluate a workspace's model into `evaluate/`; True if there was something to do."""
    _refuse_half_finetuned(workspace / "finetune")
    model = model_of(workspace)
    if model is None:
        raise UserError(f"{workspace}: no trained model there; run train.py train, then train.py finetune")
    return run(config, model, workspace / "clean", workspace / "evaluate", workspace)


def _refuse_half_finetuned(output: Path) -> None:
    """A finetune that was begun and left no whole model: the pretrained one would be graded in its name."""
    begun = (output / MANIFEST).is_file() or any(output.glob("checkpoints/*"))
    if not begun or is_whole(output / "model"):
        return
    if (output / "model" / "config.json").is_file():
        check(output / "model")  # names the missing file
    raise UserError(
        f"{output / 'model'}: no config.json, though the finetune was begun; run train.py finetune again, which "
        f"goes on, or move {output} away to evaluate the pretrained model"
    )


def run(config: EvaluateConfig, model: Path, clean: Path, output: Path, workspace: Path | None = None) -> bool:
    """Evaluate one model folder; what the other stages of its workspace left is shown on the page."""
    check(model)
    exams = {path: read_exam(Path(path)) for path in config.exams}
    files = [*weights(model), *(model / name for name in ("config.json", SPM, FAST, "training.json"))]
    inputs = {f"model/{path.name}": path for path in files if path.is_file()}
    inputs |= {"clean": clean} | {f"exam {path}": Path(path) for path in exams}

    def work(folder: Path) -> Json:
        report, replies = evaluate(config, model, clean, exams)
        report["model"] = Path(os.path.relpath(model, output)).as_posix()
        with whole(folder / "replies.jsonl") as draft:
            lines = (json.dumps(vars(r) | {"exact": r.exact}, ensure_ascii=False) for r in replies)
            draft.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        life = gather(workspace) if workspace else Life()
        with whole(folder / "report.html") as draft:
            draft.write_text(render(report, replies, life), encoding="utf-8")
        write_json(folder / "report.json", report)
        return {"asked": len(replies), "exact": sum(r.exact for r in replies)}

    done = build("evaluate", config, inputs, output, work, ("torch", "transformers", "sentencepiece"))
    if done:
        show(output)
    return done


def evaluate(
    config: EvaluateConfig, folder: Path, clean: Path, exams: dict[str, list[Question]]
) -> tuple[Json, list[Reply]]:
    """Ask everything; the report, and every reply to a question whose answer is known."""
    base = is_base(folder)
    wanted = [*config.ask, *(q.original for exam in exams.values() for q in exam if q.original)]
    taught = read_taught(clean, 0 if base else config.recall, wanted)
    posed = list(taught.recall) if base else [*taught.recall, *(q for exam in exams.values() for q in exam)]
    prompts = [*posed, *(Question(text, "", "") for text in config.ask)]
    said, parameters, vocabulary = _ask(config, folder, prompts, base)
    replies = [
        Reply(q.text, q.answer, text, q.source, q.system) for q, text in zip(posed, said[: len(posed)], strict=True)
    ]
    report: Json = {
        "base": base,
        "parameters": parameters,
        "vocabulary": vocabulary,
        "recall": _recall(taught, replies[: len(taught.recall)]),
        "exams": [] if base else _exams(exams, taught, replies[len(taught.recall) :]),
        "answers": [
            {"question": question, "answer": text, "taught": key(question) in taught.found}
            for question, text in zip(config.ask, said[len(posed) :], strict=True)
        ],
    }
    return report, replies


def _recall(taught: Taught, replies: Sequence[Reply]) -> Json | None:
    if not replies:
        return None
    counts = {"trained": taught.trained, "ambiguous": taught.ambiguous}
    return score(replies) | counts | {"sources": by_source(replies)}


def _exams(exams: dict[str, list[Question]], taught: Taught, replies: Sequence[Reply]) -> list[Json]:
    found, at = [], 0
    for path, questions in exams.items():
        originals = [key(q.original) for q in questions if q.original]
        known = {"originals": len(originals), "originals_taught": sum(o in taught.found for o in originals)}
        part = replies[at : at + len(questions)]
        at += len(questions)
        found.append({"name": Path(path).stem, "file": path} | score(part) | known)
    return found


# ---------------------------------------------------------------- asking


def _ask(config: EvaluateConfig, folder: Path, questions: Sequence[Question], base: bool) -> tuple[list[str], int, int]:
    """The replies in the order of the questions, and the model's parameters and vocabulary."""
    with kept_for_good():  # here, so that a finished stage is skipped without loading torch
        import model as families
        from model.decode import Sampling, reply

    codec = Codec(folder)
    net: Any = opened(folder, families.load)
    same_vocabulary(folder, codec.vocab_size, net.config.vocab_size)
    prompts = [_prompt(codec, question, base) for question in questions]
    limit = (
        net.config.max_position_embeddings
    )  # a longer question cannot be read: it gets no reply, and counts as wrong
    asked = [i for i, prompt in enumerate(prompts) if len(prompt) < limit]
    said = [""] * len(questions)
    sampling = Sampling(max_new_tokens=config.max_new_tokens)
    with progress(tell("evaluate", "评测"), len(asked), tell("questions", "题")) as meter:
        spoken = reply(
            net,
            [prompts[i] for i in asked],
            {codec.end_of_turn, codec.end_of_text},
            codec.pad,
            sampling,
            on_progress=lambda done: meter.advance(done - meter.done),
        )
    for i, ids in zip(asked, spoken, strict=True):
        said[i] = codec.decode(ids)
    return said, sum(p.numel() for p in net.parameters()), codec.vocab_size


def _prompt(codec: Codec, question: Question, base: bool) -> list[int]:
    if base:
        return [codec.end_of_text, *codec.encode(question.text).tolist()]
    ids, _ = codec.encode_segments(conversation(question.messages, ask=True))
    return ids.tolist()


# ---------------------------------------------------------------- telling


def show(output: Path) -> None:
    """Print the scores, the answers and how to go on, from a finished folder."""
    report = read_json(output / "report.json")
    if report["recall"]:
        say(_score_line(tell("trained questions", "学过的问题"), report["recall"]))
    for exam in report["exams"]:
        say(_exam_line(exam))
    for answer in report["answers"]:
        known = taught_note(report, answer)
        note = tell(f" ({known})", f"（{known}）") if known else ""
        say(f"\n{tell('Q', '问')}{tell(': ', '：')}{answer['question']}{note}")
        say(f"{tell('A', '答')}{tell(': ', '：')}{answer['answer'].strip()}")
    model = os.path.normpath(output / report["model"])
    say(tell(f"\nThe whole story: {output / 'report.html'}", f"\n完整报告：{output / 'report.html'}"))
    say(tell("Talk to it:      ", "和它聊天：") + f"python cli_demo.py --model {model}")


def _score_line(name: str, part: Json) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in part["interval"])
    share = f"{100 * part['share']:.1f} %"
    return tell(
        f"evaluate: {name}: {part['exact']} of {part['asked']} exact, {share} (95 % interval {low}–{high} %)",
        f"评测：{name}：{part['asked']} 题一字不差 {part['exact']} 题，{share}（95 % 区间 {low}–{high} %）",
    )


def _exam_line(exam: Json) -> str:
    """An exam's score; if nothing that it asks was taught, that instead of a row of zeros."""
    name = exam["name"]
    if exam["originals"] and not exam["originals_taught"]:
        english = f"evaluate: {name}: asks about what this model was not taught"
        return tell(english, f"评测：{name}：所问都没有教过这个模型")
    near = tell(f"; similarity {exam['similarity']:.2f}", f"；相似度 {exam['similarity']:.2f}")
    return _score_line(name, exam) + near + _taught_part(exam)


def _taught_part(exam: Json) -> str:
    """An exam that asks in other words what was hardly taught says little; a line so that it is not misread."""
    if exam["originals_taught"] * 2 >= exam["originals"]:
        return ""
    counts = f"{exam['originals_taught']}/{exam['originals']}"
    return tell(f"; only {counts} of its originals were taught", f"；其原题只教过 {counts}")
