"""The gpt family computes what Qwen3 computes: same keys, logits, loss, cache and generation."""

import copy

import pytest
import torch

import model as families


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("tied", [True, False])
def test_same_keys_and_logits(tiny, as_qwen3, ids, kernel, tied):
    net = tiny(tie_word_embeddings=tied)
    net.set_attn_implementation(kernel)
    qwen = as_qwen3(net)
    assert list(net.state_dict()) == list(qwen.state_dict())
    tokens = ids(3, 50)
    assert (net(tokens).logits - qwen(tokens).logits).abs().max() < 1e-5
    mask = torch.ones_like(tokens)
    mask[0, :17] = mask[1, :3] = 0  # left-padded
    places = (mask.cumsum(1) - 1).clamp_min(0)
    ours, theirs = (m(tokens, attention_mask=mask, position_ids=places).logits[mask.bool()] for m in (net, qwen))
    assert (ours - theirs).abs().max() < 1e-5


def test_labels_keep_hugging_faces_meaning(tiny, as_qwen3, ids):
    net, tokens = tiny(), ids(2, 40)
    qwen, labels = as_qwen3(net), tokens.clone()
    labels[:, ::3] = -100
    ours, theirs = net(tokens, labels=labels), qwen(tokens, labels=labels)
    assert abs(ours.loss - theirs.loss) < 1e-6
    assert ours.logits.shape == (2, 40, 320)
    ours, theirs = (m(tokens, labels=labels, num_items_in_batch=7).loss for m in (net, qwen))
    assert abs(ours - theirs) < 1e-5
    assert ours > 5


def test_cache_equals_full_forward(tiny, ids):
    net, tokens = tiny(), ids(2, 30)
    whole = net(tokens).logits
    first = net(tokens[:, :20], use_cache=True)
    cache, pieces = first.past_key_values, [first.logits]
    for place in range(20, 30):
        step = net(tokens[:, place : place + 1], past_key_values=cache)
        cache = step.past_key_values
        pieces.append(step.logits)
    assert (torch.cat(pieces, dim=1) - whole).abs().max() < 2e-5


def test_no_cache_unless_asked(tiny, ids):
    net = tiny()
    assert net(ids(1, 5)).past_key_values is None
    assert net.train()(ids(1, 5)).past_key_values is None
    assert net.eval()(ids(1, 5), use_cache=True).past_key_values.get_seq_length() == 5


def test_generate_greedy_beams_and_samples(tiny, as_qwen3, ids):
    net = tiny()
    qwen, tokens = as_qwen3(net), ids(2, 9)
    tokens[0, :4] = 4
    given = {"attention_mask": (tokens != 4).long(), "pad_token_id": 4, "max_new_tokens": 12}
    for how in ({"do_sample": False}, {"do_sample": False, "num_beams": 3}, {"do_sample": True, "top_k": 20}):
        torch.manual_seed(5)
        ours = net.generate(tokens, **given, **how)
        torch.manual_seed(5)
        assert torch.equal(ours, qwen.generate(tokens, **given, **how)), how
    static = net.generate(tokens, **given, do_sample=False, cache_implementation="static", disable_compile=True)
    assert torch.equal(static, net.generate(tokens, **given, do_sample=False))


def test_hidden_states_and_attentions(tiny, as_qwen3, ids):
    net = tiny()
    net.set_attn_implementation("eager")
    tokens = ids(1, 12)
    ours = net(tokens, output_hidden_states=True, output_attentions=True)
    theirs = as_qwen3(net)(tokens, output_hidden_states=True, output_attentions=True)
    assert len(ours.hidden_states) == 4
    assert len(ours.attentions) == 3
    for mine, other in zip(ours.hidden_states + ours.attentions, theirs.hidden_states + theirs.attentions, strict=True):
        assert (mine - other).abs().max() < 1e-5


def test_gradient_checkpointing_changes_nothing(tiny, ids):
    net, tokens = tiny().train(), ids(2, 40)
    saving = copy.deepcopy(net)
    saving.activation_checkpointing_enable()
    places = torch.cat((torch.arange(25), torch.arange(15)))[None].expand(2, -1)
    for given in ({"labels": tokens}, {"targets": tokens, "position_ids": places}):
        for m in (net, saving):
            m.zero_grad()
            output = m(tokens, **given)
            (output.loss if "labels" in given else output.loss_sum).backward()
        for (name, weight), other in zip(net.named_parameters(), saving.parameters(), strict=True):
            assert torch.allclose(weight.grad, other.grad, atol=1e-5), name


def test_bf16_stays_near_fp32(tiny, ids):
    net, tokens = tiny(), ids(2, 60)
    exact = net(tokens, targets=tokens.roll(-1, 1))
    rough = net.bfloat16()(tokens, targets=tokens.roll(-1, 1), per_token=True)
    assert rough.loss_sum.dtype == rough.nats.dtype == torch.float32  # a bf16 sum of 120 would be off by whole nats
    assert abs(rough.loss_sum / exact.loss_sum - 1) < 0.01
    rough.loss_sum.backward()
    assert all(w.grad.dtype == torch.bfloat16 and w.grad.isfinite().all() for w in net.parameters())


def test_a_new_model_starts_as_its_embedding(tiny):
    """Residual projections start at zero: each block is the identity, and the loss is near log V."""
    torch.manual_seed(0)
    net = families.build(families.family_config("gpt", {"vocab_size": 500, "hidden_size": 64, "num_hidden_layers": 2}))
    assert all(layer.self_attn.o_proj.weight.eq(0).all() for layer in net.model.layers)
    assert all(layer.mlp.down_proj.weight.eq(0).all() for layer in net.model.layers)
    assert 0.015 < net.model.embed_tokens.weight.std() < 0.025
    tokens = torch.arange(400)[None]
    torch.testing.assert_close(net.model(tokens).last_hidden_state, net.model.norm(net.model.embed_tokens(tokens)))
