"""What a run says before its first step: its size and length, and which data it cuts or leaves out."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from pipeline.train.checkpoints import State
from pipeline.train.compiling import Choice
from pipeline.train.config import TrainConfig, Verb
from pipeline.train.dealing import share
from pipeline.train.engine import Engine
from pipeline.train.feed import Feed, ShardFeed
from pipeline.train.horizon import steps_of_epochs
from utils.console import amount, say, tell, warn


def announce(verb: Verb, config: TrainConfig, engine: Engine, feed: Feed, model: PreTrainedModel, state: State) -> None:
    """What is about to be trained, on what, for how long, and from where."""
    size = sum(p.numel() for p in model.parameters()) / 1e6
    shape = f"{config.batch_size} x {config.seq_len}"
    where = f"{engine.name} x {engine.world}, {engine.device.type}, {engine.precision}"
    say(
        tell(
            f"{verb}: {size:.1f} M parameters, {state.total} steps of {shape} tokens, {where}",
            f"{verb}：{size:.1f} M 参数，{state.total} 步，每步 {shape} 词元，{where}",
        )
    )
    if config.epochs and (few := steps_of_epochs(config, feed)) < state.total:
        english = f"epochs={config.epochs} is only {few} steps; repeated up to min_steps = {state.total}"
        chinese = f"{config.epochs} 轮只有 {few} 步，按 min_steps 重复到 {state.total} 步"
        say(tell(f"{verb}: {english}", f"{verb}：{chinese}"))
    if isinstance(feed, ShardFeed):
        tell_few_rows(verb, config.batch_size, feed.sequences)
        if held := feed.a_row_holds:
            say(f"{verb}{tell(': ', '：')}{told_fill(*held, config.seq_len)}")
        _tell_left_out(verb, feed)
    if state.step:
        say(tell(f"{verb}: going on from step {state.step}", f"{verb}：从第 {state.step} 步继续"))


def announce_optimizer(verb: Verb, engine: Engine) -> None:
    """Who steps what, and what they remember of it."""
    shares = "; ".join(
        tell(
            f"{share.kind} {share.tensors} tensors, {share.parameters / 1e6:.2f} M parameters",
            f"{share.kind} {share.tensors} 个张量，{share.parameters / 1e6:.2f} M 参数",
        )
        for share in engine.census()
    )
    held = " + ".join(amount(size) for size in engine.optimizer_bytes())
    by_rank = tell(" (rank by rank)", "（逐进程）") if engine.world > 1 else ""
    say(
        tell(
            f"{verb}: {shares}; {held} of optimizer state{by_rank}",
            f"{verb}：{shares}；优化器状态 {held}{by_rank}",
        )
    )


def announce_choices(verb: Verb, config: TrainConfig, engine: Engine, rows: int, choice: Choice) -> None:
    """What the recipe left to us, and why it was chosen so."""
    given = tell("as the recipe says", "按配方设定")
    precision = given if config.precision != "auto" else tell("what this hardware multiplies best", "本机乘法最快")
    fitting = tell("what fits", "显存所及") if engine.device.type == "cuda" else tell("what is fastest", "最快")
    at_once = given if config.micro_batch != "auto" else fitting
    found = [
        f"{engine.precision} ({precision})",
        tell(f"{rows} rows at once", f"每次 {rows} 行") + f" ({at_once})",
        tell("compiled", "编译") + f" {tell('yes', '是') if choice.wanted else tell('no', '否')} ({choice.why})",
    ]
    if engine.device.type == "cpu":
        found.insert(2, tell(f"{torch.get_num_threads()} threads", f"{torch.get_num_threads()} 线程"))
    say(f"{verb}{tell(': ', '：')}{tell('; ', '；').join(found)}")


def tell_empty_places(verb: Verb, batch_size: int, world: int, piece: int) -> None:
    """A batch that does not divide leaves some processes with less to do than others."""
    empty = world * len(share(batch_size, 0, world, piece)) - batch_size
    if empty:
        english = f"{world} processes" + (f" x {piece} rows at once" if piece > 1 else "")
        chinese = f"{world} 个进程" + (f" × 每次 {piece} 行" if piece > 1 else "")
        name = f"{verb}.batch_size = {batch_size}"
        warn(
            tell(
                f"{name} is no multiple of {english}: {empty} places stay empty in every step; give it a multiple",
                f"{name} 不是 {chinese} 的整数倍，每步有 {empty} 行的位置空着；请改成整数倍",
            )
        )


def told_fill(dialogues: float, slots: float, seq_len: int) -> str:
    """How full rows are, and how full they would be of one dialogue each, padded."""
    full, padded = f"{slots / seq_len:.1%}", f"{slots / dialogues / seq_len:.1%}"
    return tell(
        f"{dialogues:.1f} dialogues a row, rows {full} full; one dialogue a row would be {padded} full",
        f"平均每行 {dialogues:.1f} 段对话，填充率 {full}；若每行只放一段，填充率为 {padded}",
    )


def tell_few_rows(verb: Verb, batch_size: int, rows: int) -> None:
    """A batch that is larger than its data reads rows twice in a step."""
    if rows < batch_size:
        say(
            tell(
                f"{verb}: only {rows} rows for a batch_size of {batch_size}; each step reads some of them again",
                f"{verb}：数据只有 {rows} 行，batch_size 却是 {batch_size}；每一步都会重复读到同样的行",
            )
        )


def _tell_left_out(verb: Verb, feed: ShardFeed) -> None:
    """What binning cut or left out, and sources that the mix gives no share."""
    names = {
        "cut": tell("dialogues cut at a turn", "在轮次处切开的对话"),
        "turns_left_out": tell("turns left out, longer than a row", "超过一行而略去的轮次"),
        "untrained_left_out": tell("pieces left out, nothing to train", "略去的无训练内容片段"),
    }
    notes = [f"{text} {feed.counts[name]:,}" for name, text in names.items() if feed.counts.get(name)]
    if feed.left_aside:
        notes.append(tell("not in the mix: ", "未列入配比：") + ", ".join(feed.left_aside))
    if notes:
        say(f"{verb}: {'; '.join(notes)}")
