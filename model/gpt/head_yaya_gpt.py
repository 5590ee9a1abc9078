"""The output head: hidden states come in; logits, or the loss of targets without a whole batch's logits, go out.

Training wants one number, the sum, whose gradient is known up to a factor as soon as the logits are there: it is
computed with them, a chunk at a time, and the logits are made once (`SummedLoss`). Where each token's nats are asked
for, each may get a gradient of its own, and the backward pass makes the logits again (`ChunkedNats`).

Shapes: N tokens, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

CHUNK = 1024
"""Tokens whose logits exist at one time: 26 MB in float32 at a vocabulary of 6,400."""


class SummedLoss(torch.autograd.Function):
    """Sum over tokens of (1 - s) * -log p(target) + s * the mean over the vocabulary of -log p; s is the smoothing.

    The gradients of the sum wait, as small as the hidden states and the weight, for the factor that comes from behind.
    """

    @staticmethod
    def forward(
        ctx, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor, smoothing: float, learn: bool
    ) -> torch.Tensor:
        total = hidden_ND.new_zeros((), dtype=torch.float32)
        grad_hidden: list[torch.Tensor] = []
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if learn else None
        for hidden, targets in zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK), strict=True):
            log_p = torch.log_softmax(hidden @ weight_VD.T, dim=-1, dtype=torch.float32)
            total -= log_p.gather(1, targets[:, None]).sum() * (1 - smoothing)
            if smoothing:
                total -= log_p.mean(dim=-1).sum() * smoothing
            if grad_weight_VD is not None:
                grad_logits = _less_target(log_p.exp_(), targets, smoothing).to(hidden.dtype)
                grad_hidden.append(grad_logits @ weight_VD)
                _add_product(grad_weight_VD, grad_logits, hidden)
        if learn:
            ctx.save_for_backward(torch.cat(grad_hidden), grad_weight_VD)
        ctx.dtype = weight_VD.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor):
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        grad_hidden_ND = (grad_hidden_ND.float() * grad).to(grad_hidden_ND.dtype)
        return grad_hidden_ND, (grad_weight_VD * grad).to(ctx.dtype), None, None, None


class ChunkedNats(torch.autograd.Function):
    """-log p(target) of each token, or its smoothed loss. The backward pass makes the logits again, to keep none."""

    @staticmethod
    def forward(
        ctx, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        nats, normalizers = [], []
        for hidden, targets in zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK), strict=True):
            logits = (hidden @ weight_VD.T).float()
            normalizers.append(logits.logsumexp(dim=-1))
            at_target = logits.gather(1, targets[:, None]).squeeze(1)
            if smoothing:
                at_target = (1 - smoothing) * at_target + smoothing * logits.mean(dim=-1)
            nats.append(normalizers[-1] - at_target)
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N, torch.cat(normalizers))
        ctx.smoothing = smoothing
        return torch.cat(nats)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N: torch.Tensor):
        hidden_ND, weight_VD, targets_N, normalizers_N = ctx.saved_tensors
        grad_hidden: list[torch.Tensor] = []
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        chunks = zip(*(tensor.split(CHUNK) for tensor in (hidden_ND, targets_N, normalizers_N, grad_N)), strict=True)
        for hidden, targets, normalizers, grad in chunks:
            p = (hidden @ weight_VD.T).float().sub_(normalizers[:, None]).exp_()
            grad_logits = _less_target(p, targets, ctx.smoothing).mul_(grad[:, None]).to(hidden.dtype)
            grad_hidden.append(grad_logits @ weight_VD)
            _add_product(grad_weight_VD, grad_logits, hidden)
        return torch.cat(grad_hidden), grad_weight_VD.to(weight_VD.dtype), None, None


def _less_target(p: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The gradient of a token's loss for its logits, in place of its probabilities."""
    if smoothing:
        p -= smoothing / p.shape[1]
    return p.scatter_add_(1, targets[:, None], p.new_full((len(targets), 1), smoothing - 1.0))


def _add_product(total_VD: torch.Tensor, grad_logits: torch.Tensor, hidden: torch.Tensor) -> None:
    """A chunk's part of the weight's gradient; sums over chunks stay in float32."""
    if hidden.dtype == torch.float32:
        total_VD.addmm_(grad_logits.T, hidden)
    else:
        total_VD += grad_logits.T @ hidden


class YayaGPTHead(nn.Linear):
    """A linear layer without bias that can score targets instead of returning logits.

    Scoring happens inside this module's own forward, once: ZeRO-3 gathers a weight around the module that
    owns it, and every rank must gather equally often, however many of its tokens are trained.
    """

    def forward(  # type: ignore[override]
        self,
        hidden: torch.Tensor,
        targets_N: torch.Tensor | None = None,
        per_token: bool = False,
        smoothing: float = 0.0,
    ) -> Any:
        """Logits; with targets the sum of their losses and, if asked for, the nats of each. -100 counts for nothing."""
        if targets_N is None:
            return super().forward(hidden)
        weight, device = self.weight, hidden.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            hidden, weight = hidden.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            # float16's small gradients survive only behind the loss scale, which comes with the backward pass
            late = hidden.dtype == torch.float16 and torch.is_grad_enabled()
            if not (per_token or late or torch.compiler.is_compiling()):
                return SummedLoss.apply(hidden, weight, targets_N, smoothing, torch.is_grad_enabled()), None
            trained_N, known_N = targets_N != -100, targets_N.clamp_min(0)
            losses_N: Any = ChunkedNats.apply(hidden, weight, known_N, smoothing) * trained_N
            nats_N = losses_N
            if per_token and smoothing:
                nats_N = ChunkedNats.apply(hidden, weight, known_N, 0.0) * trained_N
        return losses_N.sum(), nats_N
