"""`targets=`: sum, count, nats and gradients equal plain cross-entropy over full logits."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from model.gpt import head_yaya_gpt


def half_trained(tokens: torch.Tensor) -> torch.Tensor:
    targets = tokens.roll(-1, 1)
    targets[:, ::2] = -100
    targets[:, -1] = -100
    return targets


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("chunk", [1024, 7])
def test_equals_plain_cross_entropy(tiny, ids, monkeypatch, tied, chunk):
    monkeypatch.setattr(head_yaya_gpt, "CHUNK", chunk)
    net, tokens = tiny(tie_word_embeddings=tied), ids(3, 40)
    plain, targets = copy.deepcopy(net), half_trained(tokens)
    output = net(tokens, targets=targets, per_token=True)
    nats = cross_entropy(plain(tokens).logits.transpose(1, 2), targets, reduction="none")
    assert output.count == (targets != -100).sum()
    assert output.logits is None
    assert output.loss is None
    assert output.loss_sum.dtype == torch.float32
    assert abs(output.loss_sum - nats.sum()) < 1e-4 * nats.sum()
    assert (output.nats - nats).abs().max() < 2e-5
    assert (output.nats[targets == -100] == 0).all()
    (3.0 * output.loss_sum).backward()  # a factor, as accumulation and loss scaling give
    (3.0 * nats.sum()).backward()
    for (name, weight), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert (weight.grad - other.grad).abs().max() < 1e-4 * other.grad.abs().max(), name


def test_nats_carry_their_own_gradients(tiny, ids):
    """Preference training weighs rows differently: each token's nats must be differentiable by themselves."""
    net, tokens = tiny(), ids(2, 30)
    plain, targets, weights = copy.deepcopy(net), half_trained(tokens), torch.tensor([[2.0], [-0.5]])
    (net(tokens, targets=targets, per_token=True).nats * weights).sum().backward()
    (cross_entropy(plain(tokens).logits.transpose(1, 2), targets, reduction="none") * weights).sum().backward()
    for (name, weight), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert (weight.grad - other.grad).abs().max() < 1e-4 * other.grad.abs().max(), name


def test_nothing_trained_is_zero_and_connected(tiny, ids):
    """DDP waits for every parameter's gradient, on a rank whose rows are all filling too."""
    net, tokens = tiny(tie_word_embeddings=False), ids(2, 30)
    output = net(tokens, targets=torch.full_like(tokens, -100), per_token=True)
    assert output.loss_sum == 0
    assert output.count == 0
    assert (output.nats == 0).all()
    output.loss_sum.backward()
    assert all(weight.grad is not None and (weight.grad == 0).all() for weight in net.parameters())


def test_accumulation_does_not_change_the_gradient(tiny, ids):
    whole, tokens = tiny(), ids(4, 30)
    parts, targets = copy.deepcopy(whole), half_trained(tokens)
    targets[2:, 5:] = -100  # micro-batches of unequal weight
    output = whole(tokens, targets=targets)
    (output.loss_sum / output.count).backward()
    for rows in (slice(0, 1), slice(1, 4)):
        (parts(tokens[rows], targets=targets[rows]).loss_sum / output.count).backward()
    for (name, weight), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert (weight.grad - other.grad).abs().max() < 1e-4 * other.grad.abs().max(), name


def test_autocast_scores_as_it_would_project(tiny, ids):
    net, tokens = tiny(), ids(2, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(tokens).logits
        output = net(tokens, targets=tokens, per_token=True)
    assert logits.dtype == torch.bfloat16
    assert output.loss_sum.dtype == torch.float32
    wanted = cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
    assert (output.nats - wanted).abs().max() < 1e-4  # the product in bf16, as projecting does; the rest in fp32
    output.loss_sum.backward()
    assert all(w.grad.dtype == torch.float32 and w.grad.isfinite().all() for w in net.parameters())


def test_never_the_logits_of_a_batch(tiny, ids):
    """The head is asked once, with trained positions alone, and keeps no [N, V] tensor for the backward."""
    net, tokens = tiny(), ids(4, 40)
    targets = half_trained(tokens)
    trained, calls, kept = int((targets != -100).sum()), [], []
    net.lm_head.register_forward_pre_hook(lambda head, args: calls.append(args[0].shape))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.shape), t)[1], lambda t: t):
        net(tokens, targets=targets)
    assert calls == [(trained, 64)]
    assert not [shape for shape in kept if shape[-1:] == (320,) and shape[0] == trained]


def test_misuse_is_told(tiny, ids):
    net, tokens = tiny(), ids(2, 30)
    with pytest.raises(ValueError, match="not both"):
        net(tokens, labels=tokens, targets=tokens)
    with pytest.raises(ValueError, match=r"targets are \[2, 29\]"):
        net(tokens, targets=tokens[:, 1:])


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_vocabulary_still_trains(tiny, ids, tied):
    net, tokens = tiny(tie_word_embeddings=tied), ids(2, 30)
    net.resize_token_embeddings(333, mean_resizing=False)
    assert (net.lm_head.weight is net.model.embed_tokens.weight) == tied
    assert net(tokens).logits.shape[-1] == 333
    net(tokens, targets=tokens).loss_sum.backward()
    assert net.lm_head.weight.grad.shape == (333, 64)
