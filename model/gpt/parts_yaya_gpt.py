"""What stands between the matrix products, each with a backward pass of its own: norms, rotation, SwiGLU.

Written out by hand because autograd would keep every float32 step of them: here the inputs are kept, in the model's
precision, and a row's statistics; the rest is computed again. torch.compile traces these functions and fuses them.
Statistics are float32.

Shapes: any number of leading dimensions, E the width that is normalised; angles are [B, T, 1, E / 2].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu


def inverse_rms(hidden: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / root mean square of each row, float32."""
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
    return (length.square() / hidden.shape[-1] + eps).rsqrt()


def normed(hidden: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """The rows at a root mean square of one, times the weight."""
    return weight * (hidden * inverse).to(hidden.dtype)


def normed_backward(
    grad: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of `normed` for its input and its weight, the row's statistics included."""
    unit = hidden * inverse  # float32
    along = grad * unit
    grad_weight = along.flatten(0, -2).sum(0)
    mean = (along @ weight.float()).unsqueeze(-1) / hidden.shape[-1]
    grad_hidden = torch.addcmul(grad * weight, unit, mean, value=-1.0) * inverse
    return grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype)


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Both of these at once."""
    return normed(hidden, weight, inverse_rms(hidden, eps))


class Norm(torch.autograd.Function):
    """RMSNorm."""

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        inverse = inverse_rms(hidden, eps)
        ctx.save_for_backward(hidden, weight, inverse)
        return normed(hidden, weight, inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor):
        return *normed_backward(grad, *ctx.saved_tensors), None


def turned(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
    """Each pair (first half, second half) turned by its angle; sign -1 turns back."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat(
        (
            torch.addcmul(first * cosine, second, sine, value=-sign),
            torch.addcmul(second * cosine, first, sine, value=sign),
        ),
        dim=-1,
    )


class NormAndTurn(torch.autograd.Function):
    """RMSNorm of each head, then its rotation."""

    @staticmethod
    def forward(
        ctx, heads: torch.Tensor, weight: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, eps: float
    ) -> torch.Tensor:
        inverse = inverse_rms(heads, eps)
        ctx.save_for_backward(heads, weight, inverse, cosine, sine)
        return turned(normed(heads, weight, inverse), cosine, sine)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor):
        heads, weight, inverse, cosine, sine = ctx.saved_tensors
        return *normed_backward(turned(grad, cosine, sine, -1.0), heads, weight, inverse), None, None, None


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, the product in place."""
    return silu(gate).mul_(up)


class SwiGLU(torch.autograd.Function):
    """silu(gate) * up."""

    @staticmethod
    def forward(ctx, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return swiglu(gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor):
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), silu(gate).mul_(grad)


@contextmanager
def computed_again(part: torch.Tensor, how: Callable[[], torch.Tensor]) -> Iterator[None]:
    """In here autograd does not keep `part`, but computes it again, once, when the backward pass asks for it."""
    again = _Again(part, how)
    with torch.autograd.graph.saved_tensors_hooks(again.pack, again.unpack):
        yield


class _Again:
    """How a tensor is had again; kept from the first to the last of those who ask for it."""

    def __init__(self, part: torch.Tensor, how: Callable[[], torch.Tensor]):
        self._place, self._size, self._how = part.data_ptr(), part.numel(), how
        self._awaited = 0
        self._part: torch.Tensor | None = None

    def pack(self, saved: torch.Tensor) -> Any:
        if saved.data_ptr() != self._place or saved.numel() != self._size:
            return saved
        self._awaited += 1
        return saved.shape

    def unpack(self, kept: Any) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        with torch.no_grad():
            part = self._how() if self._part is None else self._part
        self._awaited -= 1
        self._part = part if self._awaited else None
        return part.view(kept)
