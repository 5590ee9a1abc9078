"""Packed documents get the logits and gradients they get alone, by every kernel; the rest is refused."""

import pytest
import torch

from model.gpt import varlen_yaya_gpt
from model.gpt.documents_yaya_gpt import (
    Documents,
    attend_within_documents,
    document_runs,
    documents,
    positions_in_documents,
)

LENGTHS = [[7, 1, 20, 12], [40], [13, 13, 14], [39, 1]]


def places_of(rows: list[list[int]]) -> torch.Tensor:
    return torch.stack([torch.cat([torch.arange(length) for length in lengths]) for lengths in rows])


def documents_of(rows: list[list[int]]):
    for row, lengths in enumerate(rows):
        start = 0
        for length in lengths:
            yield row, slice(start, start + length)
            start += length


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [True, False])
def test_packed_equals_alone(tiny, ids, kernel, training):
    net, tokens = tiny().train(training), ids(4, 40)
    net.set_attn_implementation(kernel)
    packed = net(tokens, position_ids=places_of(LENGTHS)).logits
    for row, span in documents_of(LENGTHS):
        alone = net(tokens[row : row + 1, span]).logits[0]
        assert (packed[row, span] - alone).abs().max() < 1e-5


def test_loop_equals_mask_forward_and_gradients(tiny, ids, monkeypatch):
    net, tokens, places = tiny(attention_dropout=0.0), ids(4, 40), places_of(LENGTHS)
    results = []
    for kernel in ("loop", "mask", "eager"):
        net.set_attn_implementation("eager" if kernel == "eager" else "sdpa")
        with monkeypatch.context() as patch:
            if kernel == "mask":  # what a GPU takes
                patch.setattr("model.gpt.modeling_yaya_gpt.documents", lambda *given: None)
                real = net.model._who_sees_whom

                def mask_only(hidden, mask, positions, cache, real=real):
                    from transformers.masking_utils import create_causal_mask

                    _, _, places = real(hidden, mask, positions, cache)
                    made = create_causal_mask(
                        config=net.config,
                        inputs_embeds=hidden,
                        attention_mask=None,
                        past_key_values=None,
                        position_ids=places,
                    )
                    assert made.dtype == torch.bool
                    assert made.shape[-2:] == (40, 40)
                    return made, None, places

                patch.setattr(net.model, "_who_sees_whom", mask_only)
            net.zero_grad()
            output = net(tokens, position_ids=places, targets=tokens.roll(-1, 1), per_token=True)
            output.loss_sum.backward()
            results.append((output.nats.detach(), [weight.grad.clone() for weight in net.parameters()]))
    for nats, gradients in results[1:]:
        assert (nats - results[0][0]).abs().max() < 2e-5
        for mine, other in zip(gradients, results[0][1], strict=True):
            assert (mine - other).abs().max() < 1e-4 * other.abs().max()


def test_a_document_never_sees_another(tiny, ids):
    """Changing a token changes its own document's later logits, and no others to the last bit."""
    net, tokens, places = tiny(), ids(4, 40), places_of(LENGTHS)
    before = net(tokens, position_ids=places).logits
    changed = tokens.clone()
    changed[0, 10] += 1  # inside the third document of row 0, which is 8..27
    after = net(changed, position_ids=places).logits
    different = (before != after).any(-1).nonzero().tolist()
    assert different
    assert all(row == 0 and 10 <= place < 28 for row, place in different)


def test_one_position_row_serves_all_rows(tiny, ids):
    net, tokens, places = tiny(), ids(3, 40), places_of([[10, 30]])
    shared = net(tokens, position_ids=places).logits
    assert torch.equal(shared, net(tokens, position_ids=places.expand(3, -1)).logits)


def test_packed_with_a_mask_is_right(tiny, ids):
    """A mask of ones, padding at the end, and padding between documents: none lets documents meet."""
    net, tokens = tiny(), ids(1, 40)
    lengths = [[15, 15, 10]]
    for kernel in ("sdpa", "eager"):
        net.set_attn_implementation(kernel)
        for padding in (slice(0, 0), slice(30, 40), slice(15, 30)):
            mask = torch.ones_like(tokens)
            mask[:, padding] = 0
            places = places_of(lengths)
            places[:, padding] = 0 if padding.start == 30 else torch.arange(15, 30)[: places[:, padding].shape[1]]
            packed = net(tokens, position_ids=places, attention_mask=mask).logits
            for row, span in documents_of(lengths):
                if mask[row, span].all():
                    alone = net(tokens[row : row + 1, span]).logits[0]
                    assert (packed[row, span] - alone).abs().max() < 1e-5, (kernel, padding, span)


def test_packed_with_a_cache_is_refused(tiny, ids):
    net, tokens, places = tiny(), ids(1, 40), places_of([[15, 25]])
    with pytest.raises(ValueError, match="use_cache=False"):
        net(tokens, position_ids=places, use_cache=True)
    with pytest.raises(ValueError, match="use_cache=False"):
        net(tokens, position_ids=places, use_cache=True, attention_mask=torch.ones_like(tokens))
    net(tokens, position_ids=torch.arange(40)[None], use_cache=True)


def test_edges():
    places = places_of([[3, 1, 2], [6, 0, 0]])
    assert positions_in_documents(places, None).tolist() == places.tolist()
    assert positions_in_documents(torch.arange(6)[None], None) is None
    assert positions_in_documents(torch.arange(3, 9)[None], None) is None  # goes on from somewhere: one document
    left_padded, mask = torch.tensor([[0, 0, 0, 1], [1, 1, 0, 1]]), torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert positions_in_documents(left_padded, mask) is None
    apart = positions_in_documents(torch.tensor([[0, 1, 2, 0, 1]]), torch.tensor([[1, 1, 0, 1, 1]]))
    assert apart.tolist() == [[0, 1, 0, 0, 1]]
    assert document_runs(torch.tensor([[0, 1, 0, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6]])) == [
        (2, 2),
        (1, 3),
        (7, 1),
    ]


def test_padding_at_position_zero_costs_one_call(tiny, ids):
    """A feed that fills a row's end with zeros makes 30 documents of one token: one run, not 30."""
    places = torch.cat((torch.arange(10), torch.zeros(30, dtype=torch.long)))[None]
    assert document_runs(positions_in_documents(places, None)) == [(10, 1), (1, 30)]


@pytest.mark.slow
def test_flex_attention_keeps_documents_apart(tiny, ids):
    """Forward only: FlexAttention has no backward pass on a CPU, and compiles for a minute or two. Heads of 32, since
    torch 2.13's kernel answers otherwise than torch uncompiled at 16 on a CPU without AVX-512 (docs/lab-notes.md)."""
    net, tokens = tiny(head_dim=32), ids(2, 40)
    places = places_of([[15, 25], [40]])
    wanted = net(tokens, position_ids=places).logits
    try:
        net.set_attn_implementation("flex_attention")
        with torch.no_grad():
            flexed = net(tokens, position_ids=places).logits
    except (RuntimeError, ImportError, NotImplementedError) as error:
        pytest.skip(f"no FlexAttention here: {error}")
    assert (flexed - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("lengths", [[[40], [13, 27], [5, 5, 30], [39, 1]], [[300, 100], [400], [129, 128, 143]]])
def test_tiles_equal_the_loop_forward_and_gradients(ids, lengths):
    """What bf16 takes on a CPU, in float32, so that a difference would be a mistake and not a rounding."""
    rows, (heads, shared, width) = places_of(lengths), (6, 2, 8)
    generator = torch.Generator().manual_seed(0)
    shapes = [(*rows.shape, number, width) for number in (heads, shared, shared, heads)]
    query, key, value, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    results = []
    for found in (documents(rows, torch.float32, shared), documents(rows, torch.bfloat16, shared)):
        given = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
        output = attend_within_documents(*given, found, width**-0.5, 0.0)
        output.backward(grad)
        results.append([output.detach(), *(tensor.grad for tensor in given)])
    assert found.stacks is not None
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_bf16_packed_equals_bf16_alone(tiny, ids):
    net, tokens = tiny().bfloat16(), ids(4, 40)
    packed = net(tokens, position_ids=places_of(LENGTHS)).logits.float()
    for row, span in documents_of(LENGTHS):
        alone = net(tokens[row : row + 1, span]).logits[0].float()
        assert (packed[row, span] - alone).abs().max() < 0.03 * alone.abs().max()


def reference_varlen(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    """What torch's kernel promises, document by document; it runs on a GPU only."""
    assert window_size == (-1, 0)
    assert cu_seq_q.dtype == torch.int32
    assert cu_seq_q[-1] == len(query)
    assert cu_seq_q.diff().max() <= max_q == max_k
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *(tensor[a:b].transpose(0, 1)[None] for tensor in (query, key, value)),
            is_causal=True,
            scale=scale,
            enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for a, b in zip(cu_seq_q.tolist(), cu_seq_q.tolist()[1:], strict=False)
    ]
    return torch.cat(parts)


def older_varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    """The same as torch 2.10 has it: no scale, no groups."""
    assert is_causal
    assert query.shape == key.shape
    return reference_varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=(-1, 0))


@pytest.mark.parametrize("kernel", [reference_varlen, older_varlen])
def test_what_a_gpus_kernel_is_given_equals_the_loop(ids, monkeypatch, kernel):
    monkeypatch.setattr(varlen_yaya_gpt, "varlen_attn", kernel)
    varlen_yaya_gpt._known.cache_clear()
    places = places_of(LENGTHS)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(4, 40, heads, 8, generator=generator) for heads in (4, 2, 2))
    on_gpu = Documents([], varlen_yaya_gpt.document_edges(places), 40)
    for scaling in (8**-0.5, 0.2):
        ours = attend_within_documents(query, key, value, on_gpu, scaling, 0.0)
        loop = attend_within_documents(query, key, value, documents(places, torch.float32, 2), scaling, 0.0)
        assert (ours - loop).abs().max() < 1e-5
    varlen_yaya_gpt._known.cache_clear()


def test_the_kernel_of_this_torch_takes_what_it_is_given():
    """Its own signature, checked without a GPU."""
    known = varlen_yaya_gpt._known()
    assert {"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"} <= known
    assert "window_size" in known or "is_causal" in known
    assert "float32" in varlen_yaya_gpt.why_no_varlen(torch.device("cuda"), torch.float32, 64, 0.0)
