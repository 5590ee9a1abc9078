"""What is kept for the backward pass: less with checkpointing, in its order; never a batch's logits."""

import copy
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model import checkpoint_activations
from model.gpt import head_yaya_gpt
from model.gpt.head_yaya_gpt import YayaGPTHead

KINDS = ("none", "selective", "full")


def losses_gradients_and_bytes(net, tokens) -> tuple[float, list[torch.Tensor], int]:
    """A step on packed rows, and how many bytes autograd kept for it, weights aside."""
    net.zero_grad()
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    places = torch.cat((torch.arange(25), torch.arange(15)))[None].expand(len(tokens), -1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = net(tokens, position_ids=places, targets=tokens.roll(-1, 1)).loss_sum
    loss.backward()
    return float(loss.detach()), [weight.grad for weight in net.parameters()], sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointing_changes_nothing_but_memory(tiny, ids, dtype):
    net, tokens = tiny().to(dtype).train(), ids(4, 40)
    found = {}
    for kind in KINDS:
        checkpoint_activations(net, kind)
        found[kind] = losses_gradients_and_bytes(net, tokens)
    for kind in KINDS[1:]:
        assert found[kind][0] == found["none"][0]
        assert all(torch.equal(ours, plain) for ours, plain in zip(found[kind][1], found["none"][1], strict=True))
    none, selective, full = (found[kind][2] for kind in KINDS)
    assert selective < 0.85 * none
    assert full < 0.8 * selective
    with pytest.raises(ValueError, match="none, selective or full"):
        checkpoint_activations(net, "some")


class Live(TorchDispatchMode):
    """The most bytes that tensors made in here held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        made = op(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self._known or not size:
            return
        self._known.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


@pytest.mark.parametrize("per_token", [False, True])
def test_memory_of_the_head_is_a_chunk_and_the_gradients(monkeypatch, per_token):
    """Four times the tokens: no more than their states' gradients on top, whatever the vocabulary."""
    monkeypatch.setattr(head_yaya_gpt, "CHUNK", 64)
    width, vocabulary = 8, 4000
    most = []
    for tokens in (256, 1024):
        head = YayaGPTHead(width, vocabulary, bias=False)
        hidden = torch.randn(tokens, width, requires_grad=True)
        targets = torch.randint(vocabulary, (tokens,))
        with Live() as live:
            head(hidden, targets, per_token)[0].backward()
        most.append(live.most)
    assert most[1] < 1024 * vocabulary * 4 / 2
    assert most[1] - most[0] < 20 * (1024 - 256) * width * 4


@pytest.mark.parametrize("chunk", [1024, 7])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("per_token", [False, True])
def test_smoothed_loss_is_that_of_torch(tiny, ids, monkeypatch, chunk, smoothing, per_token):
    monkeypatch.setattr(head_yaya_gpt, "CHUNK", chunk)
    net, tokens = tiny(), ids(3, 40)
    plain, targets = copy.deepcopy(net), tokens.roll(-1, 1)
    targets[:, ::3] = -100
    output = net(tokens, targets=targets, label_smoothing=smoothing, per_token=per_token)
    logits = plain(tokens).logits.transpose(1, 2)
    wanted = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    assert abs(output.loss_sum - wanted) < 1e-5 * wanted
    if per_token:
        nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        assert (output.nats - nats).abs().max() < 2e-5
    (0.3 * output.loss_sum).backward()
    (0.3 * wanted).backward()
    for (name, weight), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert (weight.grad - other.grad).abs().max() < 1e-4 * other.grad.abs().max(), name
