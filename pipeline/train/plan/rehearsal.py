"""A micro-batch rehearsed on the meta device: a model's config comes in, the bytes that its tensors would take go out.

The model's own code runs, forward and backward, on tensors without memory; a ledger counts what is alive after each
operation, as an allocator would. Nothing is known here of layers, so a model that changes is counted as it is then.
Two things have to be played: the code asks which device it is on, and is told the one that is meant; and whatever it
decides by the content of integers (where documents begin, which targets are trained) is computed beside it for real.

What is not seen: memory that a kernel takes inside itself and gives back (`INSIDE` names the one that matters), what
an allocator loses to its blocks, and what torch.compile saves.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import PreTrainedConfig

import model as architectures

aten: Any = torch.ops.aten
Checkpointing = Literal["none", "selective", "full"]

BLOCK = 512
"""Bytes that CUDA's allocator rounds each tensor up to."""

INSIDE: dict[Any, Callable[[Any], int]] = {aten.logsumexp.default: lambda logits, *_: nbytes(logits)}
"""What an operation takes and gives back before it is done, beside its result."""


@dataclass(frozen=True)
class Rehearsed:
    """Bytes beyond the weights, for one micro-batch of so many rows."""

    saved: int
    """Alive after the forward pass, for the backward one."""
    peak: int
    """The most at any moment; gradients in the working precision are among it, if they are kept."""
    head: int
    """The most that the head took beside what it was given, until its gradient was known."""


def rehearse(
    shape: PreTrainedConfig, rows: int, length: int, dtype: torch.dtype, device: str,
    checkpointing: Checkpointing = "none", document: int = 256, keep_gradients: bool = True,
) -> Rehearsed:  # fmt: skip
    """One micro-batch, forward and backward, all targets trained, documents of one length."""
    with torch.device("meta"):
        model: Any = architectures.build(shape)
    return rehearse_model(model.to(dtype), rows, length, device, checkpointing, document, keep_gradients)


def rehearse_model(
    model: Any, rows: int, length: int, device: str, checkpointing: Checkpointing, document: int, keep_gradients: bool
) -> Rehearsed:
    """The same for a model that is on the meta device already."""
    model.train()
    architectures.checkpoint_activations(model, checkpointing)
    if not keep_gradients:
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(_forget)
    ledger = Ledger(weakref.WeakSet(p.untyped_storage() for p in model.parameters()))
    head = _Head(ledger, model.get_output_embeddings())
    batch = same_batch(torch.device("cpu"), rows, length, document)
    with addresses(), Disguise(device), ledger:
        loss_sum = model(**{name: ledger.posed(content) for name, content in batch.items()}).loss_sum
        saved = ledger.alive
        # torch.autograd.backward would lay the disguise aside, and what is computed again would take other kernels.
        engine: Any = torch.autograd.Variable._execution_engine
        engine.run_backward(
            (loss_sum,), (torch.ones_like(loss_sum),), False, False, (), allow_unreachable=True, accumulate_grad=True
        )
    return Rehearsed(saved, ledger.peak, head.most)


def same_batch(device: torch.device, rows: int, length: int, document: int = 256) -> dict[str, torch.Tensor]:
    """Rows of documents of one length, of one token, all of it trained: as large as a micro-batch can be."""
    ids = torch.ones(rows, length, dtype=torch.int64, device=device)
    places = (torch.arange(length, device=device) % min(document, length)).expand(rows, -1).contiguous()
    return {"input_ids": ids, "targets": ids.clone(), "position_ids": places}


def nbytes(tensor: torch.Tensor) -> int:
    """Bytes that an allocator gives for it."""
    return math.ceil(tensor.untyped_storage().nbytes() / BLOCK) * BLOCK


def _forget(parameter: torch.Tensor) -> None:
    parameter.grad = None


class _Head:
    """Watches the output head: from before it is called until the gradient of what it was given is there."""

    def __init__(self, ledger: Ledger, head: torch.nn.Module):
        self.most, self._ledger = 0, ledger
        head.register_forward_pre_hook(self._begin)

    def _begin(self, head: torch.nn.Module, given: tuple[Any, ...]) -> None:
        before = self._ledger.alive
        self._ledger.recent = before

        def done(gradient: torch.Tensor) -> None:
            self.most = self._ledger.recent - before

        given[0].register_hook(done)


class Ledger(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and carries the content of integer tensors along."""

    def __init__(self, given: Any):
        super().__init__()
        self.alive = self.peak = self.recent = 0
        self._known: Any = given

    def posed(self, real: Any) -> Any:
        """A tensor of the meta device whose content is known; what is no tensor stays as it is."""
        if not isinstance(real, torch.Tensor):
            return real
        posing: Any = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="meta")
        posing.content = real
        self._enter(posing)
        return posing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if given and not any(tensor.is_meta for tensor in given):
            return self._entered(func(*args, **kwargs))  # integers that the model has written down itself
        args, kwargs = tree_map(self._known_or_posed, (args, kwargs))
        followed = all(hasattr(leaf, "content") for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf))
        try:
            result = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError):  # its result follows from the content of what is given
            if not (followed and given):
                raise
            return tree_map(self.posed, self._for_real(func, args, kwargs))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if followed and not any(tensor.is_floating_point() for tensor in tensors):
            contents = tree_leaves(self._for_real(func, args, kwargs))
            for tensor, content in zip(tree_leaves(result), contents, strict=True):
                tensor.content = content
        self._entered(result)
        if func in INSIDE:
            self._reach(self.alive + INSIDE[func](*args))
        return result

    def _known_or_posed(self, leaf: Any) -> Any:
        return self.posed(leaf) if _is_tensor(leaf) and not leaf.is_meta else leaf

    def _for_real(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation on integers alone, done on their content."""
        args, kwargs = tree_map(_content, (args, kwargs))
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return func(*args, **kwargs)

    def _entered(self, result: Any) -> Any:
        for tensor in filter(_is_tensor, tree_leaves(result)):
            self._enter(tensor)
        return result

    def _enter(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = nbytes(tensor)
        weakref.finalize(storage, self._leave, size).atexit = False
        self.alive += size
        self._reach(self.alive)

    def _leave(self, size: int) -> None:
        self.alive -= size

    def _reach(self, height: int) -> None:
        self.peak, self.recent = max(self.peak, height), max(self.recent, height)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


def _content(leaf: Any) -> Any:
    return getattr(leaf, "content", leaf)


@contextmanager
def addresses() -> Iterator[None]:
    """Code may tell tensors apart by where they lie, and on the meta device all lie nowhere: each storage has a place.

    The class itself is changed, since autograd's hooks ask where no mode is heard."""
    tensor: Any = torch.Tensor
    assert "data_ptr" not in vars(tensor)  # it is the base class's
    tensor.data_ptr = lambda this: this.untyped_storage()._cdata + this.storage_offset() * this.element_size()
    try:
        yield
    finally:
        del tensor.data_ptr


class Disguise(TorchFunctionMode):
    """Tensors of the meta device say they are on another, and take the kernels that they would take there."""

    def __init__(self, device: str):
        super().__init__()
        self.device = torch.device(device)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            asked_by = sys._getframe(1).f_globals.get("__name__")
            # Checkpointing compares devices, and keeps the random numbers of those that have some.
            return args[0].untyped_storage().device if asked_by == "torch.utils.checkpoint" else self.device
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return self.device.type == "cuda"
        if func is torch.tensor:  # written down by the model: its content stays known
            kwargs.pop("device", None)
        if func in (torch.device, torch.tensor):
            return func(*args, **kwargs)
        if func is torch.Tensor.tolist:
            return _content(args[0]).tolist()
        if func in (torch.Tensor.cpu, torch.Tensor.cuda):
            return args[0]
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        args, kwargs = tree_map(_to_meta, (args, kwargs))
        return func(*args, **kwargs)

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        """The kernel that torch would take: its own rules on the CPU, and those of CUDA as they stand in its manual."""
        if self.device.type == "cpu" and not dropout_p:
            return aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
            )[0]
        if attn_mask is None and query.dtype != torch.float32:
            return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
        if enable_gqa or dropout_p:  # neither of the two kernels: spelled out, with all its weights
            return aten._scaled_dot_product_attention_math(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )[0]
        if attn_mask is not None:
            wide = attn_mask if attn_mask.is_floating_point() else torch.zeros_like(attn_mask, dtype=query.dtype)
            attn_mask = wide.expand(query.shape[0], query.shape[1], -1, -1)
        return aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
        )[0]


def _to_meta(leaf: Any) -> Any:
    named = isinstance(leaf, str) and leaf.partition(":")[0] in ("cpu", "cuda")
    return torch.device("meta") if named or isinstance(leaf, torch.device) else leaf
