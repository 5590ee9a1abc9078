"""What a model says in the middle of its training, and which records it has read: real runs, that learn as without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import lines, losses, train

PROMPTS = ["从前有", "The old man"]
FIELDS = [f"pretrain.samples={json.dumps(PROMPTS, ensure_ascii=False)}", "pretrain.record_ids=true"]


def spoken(model: Path, prompts: list[list[int]]) -> list[str]:
    """What a published model says, by the way that chat and exams take."""
    import model as families
    from model.decode import Sampling, reply
    from utils.codec import Codec

    codec, net = Codec(model), families.load(model)
    ends = {codec.end_of_text, codec.end_of_turn}
    said = reply(net, prompts, ends, codec.pad, Sampling(max_new_tokens=60))
    return [codec.decode(ids).rstrip("\ufffd") for ids in said]


def test_samples_and_ids_change_no_loss_and_end_where_the_checkpoint_does(
    runs: Callable[..., Path], workspace: Path
) -> None:
    from utils.codec import Codec

    said = train("single", workspace, *FIELDS, "pretrain.eval_every=12")
    assert losses(workspace) == losses(runs("single"))
    weights = Path("pretrain/model/model.safetensors")
    assert (workspace / weights).read_bytes() == (runs("single") / weights).read_bytes()
    found = lines(workspace, "samples.jsonl")
    assert [(line["step"], line["prompt"]) for line in found] == [(s, p) for s in (12, 24, 30) for p in PROMPTS]
    codec = Codec(workspace / "tokenizer")
    prompts = [[codec.end_of_text, *codec.encode(prompt).tolist()] for prompt in PROMPTS]
    assert [line["text"] for line in found[-2:]] == spoken(workspace / "pretrain" / "model", prompts)
    assert "从前有 → " in said
    ids = lines(workspace, "ids-0.jsonl")
    assert [line["step"] for line in ids] == list(range(1, 31))
    assert all(len(line["ids"]) == 6 and all(line["ids"]) for line in ids)

    (workspace / "pretrain" / "manifest.json").unlink()
    for step in (24, 30):
        shutil.rmtree(workspace / "pretrain" / "checkpoints" / f"step-{step}")
    (workspace / "pretrain" / "ids-7.jsonl").write_text('{"step": 18, "ids": []}\n{"step": 19, "ids": []}\n')
    train("single", workspace, *FIELDS, "pretrain.eval_every=12")
    assert lines(workspace, "samples.jsonl") == found
    assert lines(workspace, "ids-0.jsonl") == ids
    assert [line["step"] for line in lines(workspace, "ids-7.jsonl")] == [18]


@pytest.mark.slow
def test_under_zero3_all_ranks_speak_and_the_ids_are_those_of_one_process(
    runs: Callable[..., Path], workspace: Path
) -> None:
    train("zero3", workspace, *FIELDS)
    assert losses(workspace) == losses(runs("zero3"))
    assert [line["step"] for line in lines(workspace, "samples.jsonl")] == [30, 30]
    one = shutil.copytree(runs("single"), workspace.parent / "one")
    shutil.rmtree(one / "pretrain" / "checkpoints" / "step-30")
    (one / "pretrain" / "manifest.json").unlink()
    train("single", one, *FIELDS)  # its last six steps
    ranks = [lines(workspace, f"ids-{rank}.jsonl") for rank in (0, 1)]
    together = [{"step": a["step"], "ids": a["ids"] + b["ids"]} for a, b in zip(*ranks, strict=True)]
    assert lines(one, "ids-0.jsonl") == together
    assert lines(one, "samples.jsonl") == lines(workspace, "samples.jsonl")


def test_a_finetune_answers_and_a_prompt_that_is_too_long_is_refused(runs: Callable[..., Path], tmp_path: Path) -> None:
    from utils.chat import conversation
    from utils.codec import Codec

    workspace = shutil.copytree(runs("single"), tmp_path / "run")
    long = "finetune.samples=" + json.dumps(["你好！", "长" * 2000], ensure_ascii=False)
    said = train("single", workspace, long, verb="finetune", code=2)
    assert "finetune.samples[1]" in said
    assert "1,024 positions" in said
    train("single", workspace, 'finetune.samples=["你好！"]', "finetune.max_steps=3", verb="finetune")
    (line,) = lines(workspace, "samples.jsonl", "finetune")
    codec = Codec(workspace / "tokenizer")
    ids, _ = codec.encode_segments(conversation([{"role": "user", "content": "你好！"}], ask=True))
    assert [line["text"]] == spoken(workspace / "finetune" / "model", [ids.tolist()])
