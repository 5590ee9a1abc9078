"""Replies: batching changes nothing, stop marks end rows, sampling obeys its fields, limits are told."""

import pytest
import torch

from model.decode import Sampling, choose, reply, stream


def prompts_of(count: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 16, (count,), generator=generator).tolist()
    return [torch.randint(10, 320, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_equals_generate(tiny, penalty):
    net, prompts = tiny(), prompts_of(12)
    sampling = Sampling(max_new_tokens=15, repetition_penalty=penalty)
    replies = reply(net, prompts, stop=set(), pad=4, sampling=sampling)
    how = {"max_new_tokens": 15, "do_sample": False, "repetition_penalty": penalty}
    for prompt, said in zip(prompts, replies, strict=True):
        assert said == net.generate(torch.tensor([prompt]), **how)[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=25),
        Sampling(max_new_tokens=25, repetition_penalty=1.3),
        Sampling(max_new_tokens=25, temperature=1.1, top_k=40, top_p=0.9, repetition_penalty=1.1, seed=3),
    ],
)
def test_batches_say_what_one_by_one_says(tiny, monkeypatch, sampling):
    """Rows end at different steps and leave the batch; the seed's numbers belong to prompts, not batches."""
    monkeypatch.setattr("model.decode.ROWS", 16)
    net, prompts, stop = tiny(), prompts_of(40), set(range(10, 40))
    done: list[int] = []
    together = reply(net, prompts, stop, 4, sampling, done.append)
    assert done == [16, 32, 40]
    monkeypatch.setattr("model.decode.ROWS", 1)
    assert reply(net, prompts, stop, 4, sampling) == together
    assert len({len(said) for said in together}) > 5
    assert not stop & {token for said in together for token in said}


def test_a_stop_mark_ends_only_its_row(tiny):
    net, prompts = tiny(), prompts_of(10)
    free = reply(net, prompts, set(), 4, Sampling(max_new_tokens=20))
    stop = {free[0][3], free[1][7]}
    for said, whole in zip(reply(net, prompts, stop, 4, Sampling(max_new_tokens=20)), free, strict=True):
        ends = [place for place, token in enumerate(whole) if token in stop]
        assert said == whole[: ends[0]] if ends else said == whole


def test_stream_is_the_reply(tiny):
    net, prompt = tiny(), prompts_of(3)[2]
    for sampling in (Sampling(max_new_tokens=12), Sampling(max_new_tokens=12, temperature=0.9, seed=7)):
        assert list(stream(net, prompt, {11}, sampling)) == reply(net, [prompt], {11}, 4, sampling)[0]


def test_a_stream_leaves_the_model_as_it_was(tiny):
    net = tiny().train()
    speaking = stream(net, [20, 21], set(), Sampling(max_new_tokens=5))
    next(speaking)
    assert net.training
    assert torch.is_grad_enabled()
    speaking.close()
    reply(net, [[20, 21]], set(), 4, Sampling(max_new_tokens=2))
    assert net.training


def test_seeds(tiny):
    net, prompts = tiny(), prompts_of(6)
    said = [reply(net, prompts, set(), 4, Sampling(max_new_tokens=9, temperature=1.0, seed=s)) for s in (1, 1, 2, None)]
    assert said[0] == said[1]
    assert said[0] != said[2]
    assert said[0] != said[3]


def test_choose_follows_its_fields():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]]).expand(4000, -1)
    uniforms = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([2.0, 1.0, 0.0, -1.0]).div(0.7).softmax(-1)

    def shares(sampling: Sampling) -> torch.Tensor:
        return choose(logits, sampling, None, uniforms)[:, 0].bincount(minlength=5) / 4000

    assert (shares(Sampling(temperature=0.7))[:4] - wanted).abs().max() < 0.02
    assert (shares(Sampling(temperature=0.7, top_k=2))[:2] - wanted[:2] / wanted[:2].sum()).abs().max() < 0.02
    assert shares(Sampling(temperature=0.7, top_k=2))[2:].sum() == 0
    assert shares(Sampling(temperature=1.0, top_p=0.6))[0] == 1  # the likeliest alone has 0.64
    assert shares(Sampling(temperature=1.0, top_p=0.7))[2:].sum() == 0
    assert shares(Sampling(temperature=1.0, top_p=0.7))[1] > 0.2
    seen = torch.tensor([[True, False, False, False, False]])
    assert choose(logits[:1], Sampling(repetition_penalty=2.5), seen, None).item() == 1
    edge = torch.tensor([0.0, 0.9999999])
    assert choose(logits[:2], Sampling(temperature=1.0, top_k=3), None, edge)[:, 0].tolist() == [0, 2]
    assert choose(logits[:2].flip(-1), Sampling(temperature=1.0, top_k=3), None, edge)[:, 0].tolist() == [2, 4]


def test_limits_are_told(tiny):
    net = tiny()
    with pytest.raises(
        ValueError, match=r"prompt 1 holds 128 tokens and the model reads 128.*shorten it to at most 127"
    ):
        reply(net, [[20], [20] * 128], set(), 4, Sampling())
    with pytest.raises(ValueError, match="prompt 0 holds 200"):
        next(stream(net, [20] * 200, set(), Sampling()))
    with pytest.raises(ValueError, match="prompt 0 is empty"):
        reply(net, [[]], set(), 4)
    assert [len(said) for said in reply(net, [[20] * 120, [20] * 100], set(), 4, Sampling(max_new_tokens=20))] == [
        8,
        20,
    ]
    assert reply(net, [], set(), 4) == []


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"seed": True}, "seed"),
        ({"seed": 1 << 63}, "seed"),
        ({"temperature": float("inf")}, "temperature"),
    ],
)
def test_wrong_sampling_is_told(fields, name):
    with pytest.raises(ValueError, match=f"^{name}=.* must be ") as told:
        Sampling(**fields)
    assert "\n" not in str(told.value)
