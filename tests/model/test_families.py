"""The door of `model`: configs by name with helpful refusals, building, saving, loading, a token's cost."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import model as families
from model.gpt import YayaGPTConfig, YayaGPTForCausalLM, YayaGPTModel


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("gtp", {}, "model.family='gtp' is unknown: did you mean 'gpt'"),
        (
            "gpt",
            {"hidden_sizes": 64},
            "model.hidden_sizes is not a field of family gpt: did you mean 'hidden_size'?",
        ),
        ("gpt", {"num_layers": 2}, "did you mean 'num_hidden_layers'"),
        ("gpt", {"hidden_size": "64"}, "model.hidden_size='64' must be a whole number"),
        ("gpt", {"num_key_value_heads": 2.5}, "model.num_key_value_heads=2.5 must be a whole number or null"),
        ("gpt", {"tie_word_embeddings": 1}, "model.tie_word_embeddings=1 must be true or false"),
        ("gpt", {"rope_theta": True}, "model.rope_theta=True must be a number"),
        ("gpt", {"rope_theta": 0.5}, "rope_theta=0.5 must be a number above 1"),
        (
            "gpt",
            {"hidden_size": 100, "num_attention_heads": 8},
            "not divisible by num_attention_heads=8: change one",
        ),
        ("gpt", {"num_attention_heads": 6, "head_dim": 32}, "set num_key_value_heads to one of 1, 2, 3, 6"),
        ("gpt", {"head_dim": 33}, "head_dim=33 is odd, and rotation turns pairs: set head_dim to 34"),
        ("gpt", {"num_hidden_layers": 0}, "num_hidden_layers=0 must be a whole number of at least 1"),
        ("gpt", {"attention_dropout": 1.5}, "attention_dropout=1.5 must be"),
        ("gpt", {"hidden_act": "foo"}, "hidden_act='foo' must be one of"),
        ("gpt", {"initializer_range": -1.0}, "initializer_range=-1.0 must be a small number of 0 or more"),
        ("gpt", {"rms_norm_eps": -1.0}, "rms_norm_eps=-1.0 must be a small number of 0 or more"),
        (
            "gpt",
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type='yarn'",
        ),
    ],
)
def test_a_wrong_field_is_told_in_one_line(family, fields, message):
    with pytest.raises(ValueError) as told:
        families.family_config(family, fields)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_left_out_follows():
    config = families.family_config("gpt", {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": None})
    assert (config.head_dim, config.num_key_value_heads, config.intermediate_size) == (64, 4, 704)
    assert config.rope_parameters["rope_theta"] == 10_000.0
    assert families.family_config("gpt", {"rope_theta": 5e5}).rope_parameters["rope_theta"] == 5e5
    assert (
        sum(weight.numel() for weight in families.build(families.family_config("gpt", {})).parameters()) == 26_879_488
    )


def test_the_seed_is_the_callers():
    config = families.family_config("gpt", {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1})
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(families.build(config).model.embed_tokens.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded(tiny, ids, tmp_path, dtype):
    net, tokens = tiny().to(dtype), ids(2, 20)
    net.save_pretrained(tmp_path)
    loaded = families.load(tmp_path)
    assert isinstance(loaded, YayaGPTForCausalLM)
    assert loaded.dtype == dtype
    assert torch.equal(loaded(tokens).logits, net(tokens).logits)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    wide = families.load(tmp_path, dtype=torch.float32)
    assert wide.dtype == torch.float32
    assert all(torch.equal(wide.state_dict()[key], value.float()) for key, value in net.state_dict().items())
    assert isinstance(AutoModel.from_pretrained(tmp_path), YayaGPTModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), YayaGPTConfig)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert set(saved["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}
    assert saved["dtype"] == str(dtype).removeprefix("torch.")
    assert saved["architectures"] == ["YayaGPTForCausalLM"]


def test_a_saved_folder_needs_nothing_of_yaya(tiny, ids, tmp_path):
    """A process that cannot see this repository loads the folder with its own code, and says the same."""
    net, tokens = tiny(), ids(1, 8)
    net.save_pretrained(tmp_path / "saved")
    wanted = net.generate(tokens, max_new_tokens=10, do_sample=False)[0].tolist()
    code = """
import json, sys, torch
from transformers import AutoModel, AutoModelForCausalLM
folder, tokens = sys.argv[1], torch.tensor([json.loads(sys.argv[2])])
net = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
try:
    import model.gpt
    raise SystemExit("the repository can be seen")
except ModuleNotFoundError:
    pass
assert "transformers_modules" in type(net).__module__, type(net)
assert torch.equal(base(tokens).last_hidden_state, net.model(tokens).last_hidden_state)
print(json.dumps(net.generate(tokens, max_new_tokens=10, do_sample=False)[0].tolist()))
places = torch.cat((torch.arange(3), torch.arange(5)))[None]
print(net(tokens, targets=tokens, position_ids=places).loss_sum.item())
"""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HOME": str(tmp_path / "hf"),
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "saved"), json.dumps(tokens[0].tolist())],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said, loss = done.stdout.strip().splitlines()[-2:]
    places = torch.cat((torch.arange(3), torch.arange(5)))[None]
    assert json.loads(said) == wanted
    assert abs(float(loss) - net(tokens, targets=tokens, position_ids=places).loss_sum.item()) < 1e-3


def test_qwen3_folders_load(tiny, as_qwen3, ids, tmp_path):
    qwen, tokens = as_qwen3(tiny()), ids(2, 20)
    qwen.save_pretrained(tmp_path)
    loaded = families.load(tmp_path)
    assert isinstance(loaded, YayaGPTForCausalLM)
    assert (loaded(tokens).logits - qwen(tokens).logits).abs().max() < 1e-5


def test_a_broken_folder_is_told(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        families.load(tmp_path)
    tiny().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="broken"):
        families.load(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="weights are missing"):
        families.load(tmp_path)
    tiny(num_hidden_layers=2).save_pretrained(tmp_path / "less")
    weights.write_bytes((tmp_path / "less" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"lacks weights, model\.layers\.2"):
        families.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="'gpt2'"):
        families.load(tmp_path)


def test_the_cost_of_a_token(tiny):
    net = tiny()
    per_layer = 64 * 24 * (4 + 2 + 2) + 4 * 24 * 64 + 3 * 64 * net.config.intermediate_size
    assert families.matrix_parameters(net) == 3 * per_layer + 320 * 64
    assert families.matrix_parameters(tiny(tie_word_embeddings=False)) == 3 * per_layer + 320 * 64
    wanted = 6 * (3 * per_layer + 320 * 64) + 3 * 6 * 4 * 24 * 100
    assert families.flops_per_token(net, 100) == families.flops_per_token(net.config, 100) == wanted
    of_pairs = families.flops_per_token(net, 100) - families.flops_per_token(net, 0)
    assert of_pairs == 50 * families.flops_per_pair(net)  # a causal row of 100 sees 50 on average


def test_registration_is_the_import():
    config = families.family_config("gpt", {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1})
    assert isinstance(AutoModelForCausalLM.from_config(config), YayaGPTForCausalLM)


@pytest.mark.parametrize("kind", ["yaya_lstm", "yaya_gpt", None])
def test_code_in_a_folder_never_runs(tiny, tmp_path, monkeypatch, kind):
    """transformers would ask whether it may, and a line of standard input would be its yes."""
    folder, ran = tmp_path / "saved", tmp_path / "ran"
    tiny().save_pretrained(folder)
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(ran)!r}, 'w').close()\n" + file.read_text())
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | {"model_type": kind}))
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    if kind == "yaya_gpt":
        assert isinstance(families.load(folder), YayaGPTForCausalLM)
    else:
        with pytest.raises(ValueError, match=f"model_type {kind!r}; there are qwen3, yaya_gpt"):
            families.load(folder)
    assert not ran.exists()


@pytest.mark.parametrize("fields", [{"num_hidden_layers": 2}, {"intermediate_size": 64}])
def test_a_config_of_other_weights_is_told(tiny, tmp_path, fields):
    tiny().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(saved | fields))
    with pytest.raises(ValueError, match=r"config\.json does not describe the weights beside it") as told:
        families.load(tmp_path)
    assert "\n" not in str(told.value)
