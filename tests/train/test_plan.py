"""The plan: what it counts against what is really there, and what it says of a recipe that nothing was made of yet."""

from __future__ import annotations

import json
import re
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import model as architectures
from pipeline.train import lineage
from pipeline.train.cards import CARDS, recognised
from pipeline.train.config import PretrainConfig
from pipeline.train.feed import ShardFeed
from pipeline.train.log import METRICS
from pipeline.train.plan.__main__ import asked, told
from pipeline.train.plan.footprint import ENGINES, Footprint, Setting, Sizes, even, lasting
from pipeline.train.plan.prospect import planned, vocabulary
from pipeline.train.plan.rehearsal import Checkpointing, nbytes, rehearse, same_batch
from tests.commands import TINY, run
from utils.console import UserError

FIELDS = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SHAPE = architectures.family_config("gpt", {**FIELDS, "vocab_size": 500})


class Alive(TorchDispatchMode):
    """Bytes of real tensors that are alive, those of `given` aside."""

    def __init__(self, given: Iterable[torch.Tensor]):
        super().__init__()
        self.known = weakref.WeakSet(tensor.untyped_storage() for tensor in given)
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)):
            storage = tensor.untyped_storage()
            if storage not in self.known:
                self.known.add(storage)
                self.bytes += nbytes(tensor)
                weakref.finalize(storage, self.gone, nbytes(tensor))
        self.peak = max(self.peak, self.bytes)
        return result

    def gone(self, size: int) -> None:
        self.bytes -= size


@pytest.mark.parametrize("how", ["none", "selective", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_rehearsed_is_what_real_tensors_take(dtype: torch.dtype, how: Checkpointing) -> None:
    imagined = rehearse(SHAPE, 3, 128, dtype, "cpu", how, document=32)
    model = architectures.build(SHAPE).to(dtype).train()
    architectures.checkpoint_activations(model, how)
    with Alive([*model.parameters(), *(batch := same_batch(torch.device("cpu"), 3, 128, 32)).values()]) as real:
        loss_sum = model(**batch).loss_sum
        saved = real.bytes
        loss_sum.backward()
    assert imagined.saved == pytest.approx(saved, rel=0.02)
    assert imagined.peak == pytest.approx(real.peak, rel=0.05)
    assert 0 < imagined.head <= imagined.peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_rehearsed_is_what_autograd_keeps(dtype: torch.dtype) -> None:
    """Counted another way: what autograd's graph holds, and the order that attention laid tokens out in."""
    model = architectures.build(SHAPE).to(dtype).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_sum = model(**same_batch(torch.device("cpu"), 3, 128, 32)).loss_sum
    kept |= {order.untyped_storage().data_ptr(): order for order in orders(loss_sum)}
    imagined = rehearse(SHAPE, 3, 128, dtype, "cpu", document=32)
    assert imagined.saved == pytest.approx(sum(map(nbytes, kept.values())), rel=0.01)


def orders(loss_sum: torch.Tensor) -> Iterator[torch.Tensor]:
    """Index tensors of the graph's tiled attention, which autograd's hooks are not shown."""
    seen, nodes = set(), [loss_sum.grad_fn]
    while nodes:
        node: Any = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [after for after, _ in node.next_functions]
        if hasattr(node, "where"):
            yield from (one for slots in (node.where.keys, node.where.queries) for one in vars(slots).values())


@pytest.mark.slow
def test_the_peak_is_what_the_process_has() -> None:
    """Real steps, in a process that gives back at once what is freed, as CUDA's allocator counts it."""
    shape = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "head_dim": 64}
    fields = [f"model.{name}={value}" for name, value in shape.items()]
    fields += ["pretrain.gradient_checkpointing=full", "pretrain.seq_len=512", "pretrain.micro_batch=4"]
    fields += ["finetune.precision=bf16", "finetune.seq_len=512", "finetune.micro_batch=8", "finetune.batch_size=16"]
    trim = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    said = run([sys.executable, "-m", "pipeline.train.plan", TINY, "--check", *fields], **trim)
    errors = [float(error) for error in re.findall(r"error ([+-][\d.]+)%", said)]
    assert len(errors) == 2, said
    assert max(map(abs, errors)) < 7, said


@pytest.mark.slow
def test_what_one_verb_takes_is_not_hidden_by_what_another_gave_back() -> None:
    """As a user runs it, with an allocator that keeps what is freed: the large verb first, then a smaller one."""
    fields = ["pretrain.seq_len=512", "pretrain.micro_batch=16", "pretrain.batch_size=32", "finetune.seq_len=512"]
    fields += ["finetune.micro_batch=8", "finetune.batch_size=16", "model.hidden_size=256", "model.head_dim=64"]
    said = run([sys.executable, "-m", "pipeline.train.plan", TINY, "--check", *fields])
    errors = [float(error) for error in re.findall(r"error ([+-][\d.]+)%", said)]
    assert len(errors) == 2, said
    assert max(errors) < 25, said


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_grows_with_rows_and_shrinks_with_checkpointing(device: str) -> None:
    def at(rows: int, how: Checkpointing = "none") -> int:
        return rehearse(SHAPE, rows, 128, torch.bfloat16, device, how).saved

    assert at(4) - at(2) == pytest.approx(2 * (at(2) - at(1)), rel=0.02)
    assert at(4, "full") < at(4) / 4


def test_weights_are_counted_once_a_kind() -> None:
    sizes = Sizes.of(SHAPE, 128)
    real = architectures.build(SHAPE)
    p = sum(weight.numel() for weight in real.parameters())
    assert sizes.parameters == p
    assert sizes.flops_per_token == architectures.flops_per_token(real, 128)
    one = lasting(sizes, Setting("single", 1, "bf16", "adamw"))
    assert (one.weights, one.masters, one.moments, one.gradients) == (2 * p, 4 * p, 8 * p, 4 * p)
    assert lasting(sizes, Setting("single", 1, "fp32", "adamw")).masters == 0
    muon = lasting(sizes, Setting("single", 1, "bf16", "muon")).moments
    assert lasting(sizes, Setting("single", 1, "bf16", "adafactor")).moments < muon < one.moments


def test_zero_spreads_what_its_stage_spreads() -> None:
    sizes = Sizes.of(SHAPE, 128)
    whole = lasting(sizes, Setting("ddp", 4, "bf16", "adamw"))
    shared = [lasting(sizes, Setting(f"zero{stage}", 4, "bf16", "adamw")) for stage in (1, 2, 3)]  # type: ignore[arg-type]
    assert [one.moments * 4 == whole.moments for one in shared] == [True] * 3
    assert [one.gradients * 4 == whole.gradients for one in shared] == [False, True, True]
    assert [one.weights * 4 == whole.weights for one in shared] == [False, False, True]
    away = lasting(sizes, Setting("zero3", 4, "bf16", "adamw", "all"))
    assert away.weights == away.masters == away.moments == 0
    assert away.host >= shared[2].weights + shared[2].masters + shared[2].moments


@pytest.mark.parametrize("engine", ENGINES)
def test_the_largest_micro_batch_fits_and_the_next_does_not(engine: str) -> None:
    config = PretrainConfig(batch_size=64, seq_len=128, max_steps=1)
    footprint = Footprint(config, SHAPE, Sizes.of(SHAPE, 128))
    setting = Setting(engine, 1 if engine == "single" else 2, "bf16", "adamw", bucket=1 << 20)  # type: ignore[arg-type]
    room = footprint.at(setting, 11).peak
    assert footprint.largest(setting, room) == 11
    assert footprint.largest(setting, room - 1) == max(size for size in even(64 // setting.world) if size < 11)
    assert footprint.largest(setting, 1000) == 0


# ---------------------------------------------------------------- what is said


def test_a_plan_needs_nothing_but_the_recipe(tmp_path: Path) -> None:
    workspace = tmp_path / "not there"
    words = ["configs/gpt-64m.yaml", f"workspace={workspace}", "--gpus", "8", "--gpu=h100", "--price", "2.5"]
    path, question = asked([*words, "pretrain.max_tokens=2e9", "--mfu", "0.5"])
    lines = list(told(path, question))
    assert not workspace.exists()
    plan = planned(question, "pretrain", vocabulary(question)[0])
    assert plan.length.steps == 15_259
    total = 15_259 * 256 * 512 * plan.sizes.flops_per_token
    assert plan.hours == pytest.approx(total / (8 * 989e12 * 0.5) / 3600)
    assert any(f"{plan.hours * 8 * 2.5:,.2f} (2.5 a GPU hour)" in line for line in lines)
    heads = next(line.split() for line in lines if "memory" in line)
    assert heads[-4:] == ["ddp", "zero1", "zero2", "zero3"]
    assert sum("epochs of what is not packed yet" in line for line in lines) == 1  # finetune's


def test_it_speaks_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    lines = "\n".join(told(*asked([TINY, "--gpu", "4090", "pretrain.epochs=1"])))
    assert "每卡显存" in lines
    assert "尚未打包" in lines
    assert "parameters" not in lines


def test_epochs_are_counted_where_shards_lie(packed: Path, tmp_path: Path) -> None:
    _, question = asked([TINY, f"workspace={packed}", "pretrain.epochs=3", "--gpu", "3090"])
    feed = ShardFeed(packed / "pack", "pretrain", 64, 0, {}, tmp_path / "cache")
    before = sorted(packed.rglob("*"))
    plan = planned(question, "pretrain", vocabulary(question)[0])
    assert plan.length.steps == -(-3 * feed.sequences // 6)
    assert sorted(packed.rglob("*")) == before  # a plan leaves nothing
    assert vocabulary(question)[1] == str(packed / "tokenizer")


def test_an_earlier_run_here_says_how_fast_runs_are(tmp_path: Path) -> None:
    _, question = asked([TINY, f"workspace={tmp_path}", "--gpu", "cpu"])
    assert planned(question, "pretrain", 500).mfu == 0.6
    (tmp_path / "pretrain").mkdir()
    known = {"recipe": {}, "inputs": {}, "precision": "fp32"}
    (tmp_path / "pretrain" / lineage.RUN).write_text(json.dumps(known), encoding="utf-8")
    lines = [json.dumps({"step": step, "loss": 1.0, "mfu": 0.25}) for step in range(1, 12)]
    (tmp_path / "pretrain" / METRICS).write_text("\n".join(lines), encoding="utf-8")
    plan = planned(question, "pretrain", 500)
    assert plan.mfu == 0.25
    assert "measured in" in plan.mfu_told
    away = replace(question, place=replace(question.place, here=False))
    assert planned(away, "pretrain", 500).mfu == 0.6  # another machine's figure says nothing of this one


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["--gpu", "h1000"], "--gpu h1000: not known; there are b200, h200"),
        (["--gpus", "none"], "--gpus none: give a number above 0"),
        (["--gpus", "1.5"], "--gpus 1.5: give a whole number"),
        (["--gpus", "1e30"], "--gpus 1e30: give a whole number of at most"),
        (["--mfu", "40"], "--mfu 40: give a share above 0, at most 1"),
        (["--price", "-1"], "--price -1: give a number above 0"),
        (["model.hidden_size=0"], "hidden_size=0 must be a whole number of at least 1"),
    ],
)
def test_a_mistake_is_named(words: list[str], mistake: str) -> None:
    with pytest.raises(UserError, match=re.escape(mistake)):
        list(told(*asked([TINY, "--gpu", "h100", *words] if words[0] != "--gpu" else [TINY, *words])))


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H800", "h100"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA A100-SXM4-40GB", "a100-40g"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A800-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 3090", "3090"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("Tesla V100-SXM2-16GB", "v100-16g"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce GTX 1060", None),
    ],
)
def test_a_driver_name_is_recognised(driver: str, name: str | None) -> None:
    found = recognised(driver)
    assert (found.name if found else None) == name


def test_cards_have_names_of_their_own() -> None:
    assert len({card.name for card in CARDS}) == len(CARDS)
