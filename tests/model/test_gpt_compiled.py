"""Compiled, whole or in parts, packed rows give the losses and gradients they give uncompiled."""

import copy

import pytest
import torch

from model import compile_layers


def step(net, tokens, places, **more) -> tuple[torch.Tensor, list[torch.Tensor]]:
    net.zero_grad()
    loss = net(tokens, position_ids=places, targets=tokens.roll(-1, 1), **more).loss_sum
    loss.backward()
    return loss.detach(), [weight.grad for weight in net.parameters()]


def whole(net):
    return torch.compile(net, fullgraph=True)


def parts(net):
    compile_layers(net)
    return net


@pytest.mark.parametrize("how", [pytest.param(whole, marks=pytest.mark.slow), parts])
def test_compiled_equals_eager_on_packed_rows(tiny, ids, how):
    torch._dynamo.reset()
    net, tokens = tiny(num_hidden_layers=2).train(), ids(2, 40)
    compiled = how(copy.deepcopy(net))
    for lengths in ((25, 15), (13, 13, 14)):  # one compilation serves both
        places = torch.cat([torch.arange(length) for length in lengths])[None].expand(2, -1)
        (loss, gradients), (wanted, others) = step(compiled, tokens, places), step(net, tokens, places)
        assert abs(loss - wanted) < 1e-5 * wanted
        for ours, theirs in zip(gradients, others, strict=True):
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3
