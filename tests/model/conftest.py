"""Small models whose weights matter: a fresh one's residual projections are zero and would hide mistakes."""

from collections.abc import Callable

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import model as families
from model.gpt import YayaGPTForCausalLM

FIELDS = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,  # not hidden_size / heads, to see that nothing assumes it
    "max_position_embeddings": 128,
    "rope_theta": 20_000.0,
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Callable[..., YayaGPTForCausalLM]:
    """tiny(seed=0, **fields) makes a model whose every weight is random, in evaluation mode."""

    def make(seed: int = 0, **fields) -> YayaGPTForCausalLM:
        torch.manual_seed(seed)
        net = families.build(families.family_config("gpt", FIELDS | fields))
        for weight in net.parameters():
            if weight.ndim == 1:
                torch.nn.init.uniform_(weight, 0.5, 1.5)
            else:
                torch.nn.init.normal_(weight, std=0.12)
        return net.eval()

    return make


@pytest.fixture
def as_qwen3() -> Callable[[YayaGPTForCausalLM], Qwen3ForCausalLM]:
    """Qwen3ForCausalLM with the same weights, loaded strictly."""

    def make(net: YayaGPTForCausalLM) -> Qwen3ForCausalLM:
        names = {*FIELDS, "intermediate_size", "tie_word_embeddings", "rope_parameters"} - {"rope_theta"}
        config = Qwen3Config(**{name: getattr(net.config, name) for name in names})
        config._attn_implementation = net.config._attn_implementation
        other = Qwen3ForCausalLM(config)
        other.load_state_dict(net.state_dict(), strict=True)
        return other.eval()

    return make


@pytest.fixture
def ids() -> Callable[..., torch.Tensor]:
    """ids(rows, length, seed=0): random tokens."""

    def make(rows: int, length: int, seed: int = 0) -> torch.Tensor:
        return torch.randint(10, 320, (rows, length), generator=torch.Generator().manual_seed(seed))

    return make
