"""The output head: hidden states come in; logits, or targets' nats without a whole batch's logits, go out.

Shapes: N tokens, D width, V vocabulary.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable

CHUNK = 1024
"""Tokens whose logits exist at one time: 26 MB in float32 at a vocabulary of 6,400."""


class ChunkedNats(torch.autograd.Function):
    """-log p(target) of each token. The backward pass computes a chunk's logits again, to keep none."""

    @staticmethod
    def forward(ctx, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        nats, normalizers = [], []
        for hidden, targets in zip(hidden_ND.split(CHUNK), targets_N.split(CHUNK), strict=True):
            logits = (hidden @ weight_VD.T).float()
            normalizers.append(logits.logsumexp(dim=-1))
            nats.append(normalizers[-1] - logits.gather(1, targets[:, None]).squeeze(1))
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N, torch.cat(normalizers))
        return torch.cat(nats)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N: torch.Tensor):
        hidden_ND, weight_VD, targets_N, normalizers_N = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        tensors = (hidden_ND, targets_N, normalizers_N, grad_N, grad_hidden_ND)
        chunks = zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True)
        for hidden, targets, normalizers, grad, grad_hidden in chunks:
            grad_logits = (hidden @ weight_VD.T).float().sub_(normalizers[:, None]).exp_()
            grad_logits.scatter_add_(1, targets[:, None], grad_logits.new_full((len(targets), 1), -1.0))
            grad_logits = grad_logits.mul_(grad[:, None]).to(hidden.dtype)
            torch.mm(grad_logits, weight_VD, out=grad_hidden)
            if hidden.dtype == torch.float32:
                grad_weight_VD.addmm_(grad_logits.T, hidden)
            else:  # sums over chunks stay in float32
                grad_weight_VD += grad_logits.T @ hidden
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None


class YayaGPTHead(nn.Linear):
    """A linear layer without bias that can score targets instead of returning logits.

    Scoring happens inside this module's own forward, once: ZeRO-3 gathers a weight around the module that
    owns it, and every rank must gather equally often, however many of its tokens are trained.
    """

    def forward(self, hidden: torch.Tensor, targets_N: torch.Tensor | None = None) -> torch.Tensor:
        if targets_N is None:
            return super().forward(hidden)
        weight, device = self.weight, hidden.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            hidden, weight = hidden.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            return ChunkedNats.apply(hidden, weight, targets_N)
