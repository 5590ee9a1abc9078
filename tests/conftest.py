"""What several test folders share: a tokenizer and a model small enough to train in a test run, and tiny runs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import sentencepiece

from tests.commands import TINY, run, train
from tests.readmes import READMES, left_out
from utils.chat import MARKS
from utils.codec import Codec
from utils.encoders import SPM
from utils.stage import write_manifest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers with two threads each would wait for each other

hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

LINES = (
    "今天天气很好，我们去公园散步。",
    "你好！我叫牙牙，很高兴认识你。",
    "The quick brown fox jumps over the lazy dog.",
    "水在零度结冰，在一百度沸腾。",
    "system user assistant tool\n",
)


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tokenizer folder of a few hundred pieces."""
    folder = tmp_path_factory.mktemp("tiny") / "tokenizer"
    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(LINES * 20),
        model_writer=model,
        vocab_size=420,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        control_symbols=list(MARKS),
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / SPM).write_bytes(model.getvalue())
    write_manifest(folder, "tokenizer", {}, {}, {}, ("sentencepiece",))
    return folder


@pytest.fixture(scope="session")
def codec(tiny_tokenizer: Path) -> Codec:
    return Codec(tiny_tokenizer)


TAUGHT = {
    "你好！": "你好！我叫牙牙。",
    "天气好吗？": "今天天气很好，我们去公园散步。🌱",
    "Who are you?": "The quick brown fox.",
    "水？": "水在零度结冰，在一百度沸腾。",
}
"""What `taught_model` answers, by heart."""


def tokenizer_of_another_size(path: Path) -> bytes:
    """A tokenizer's file with a few pieces fewer."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    del proto.pieces[-5:]
    return proto.SerializeToString()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def taught_model(tiny_tokenizer: Path, codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as training publishes it, of a model that knows TAUGHT: a few seconds of one core."""
    import torch

    import model as families
    from utils.chat import conversation
    from utils.stage import write_json

    torch.manual_seed(0)
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }
    net = families.build(families.family_config("gpt", shape | {"vocab_size": codec.vocab_size}))
    rows = []
    for question, answer in TAUGHT.items():
        said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids, spans = codec.encode_segments(conversation(said))
        trained = {i for start, end in spans for i in range(start, end)}
        rows.append((ids.tolist(), [t if i in trained else -100 for i, t in enumerate(ids.tolist())]))
    length = max(len(ids) for ids, _ in rows)
    ids_RT = torch.tensor([ids + [codec.pad] * (length - len(ids)) for ids, _ in rows])
    labels_RT = torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in rows])
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = net(input_ids=ids_RT, labels=labels_RT).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    folder = tmp_path_factory.mktemp("taught") / "model"
    net.save_pretrained(folder)
    (folder / SPM).write_bytes((tiny_tokenizer / SPM).read_bytes())
    write_json(folder / "training.json", {"verb": "finetune"})
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with everything that comes before training."""
    workspace = tmp_path_factory.mktemp("tiny") / "packed"
    run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "--until=pack"])
    return workspace


@pytest.fixture
def workspace(packed: Path, tmp_path: Path) -> Path:
    """A fresh copy of it, in which nothing is trained."""
    return shutil.copytree(packed, tmp_path / "run")


@pytest.fixture(scope="session")
def runs(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Undisturbed runs, each made once a session: `runs(engine, precision, steps)` is its workspace."""
    made: dict[tuple[str, str, int], Path] = {}

    def make(engine: str, precision: str = "fp32", steps: int = 30) -> Path:
        key = (engine, precision, steps)
        if key not in made:
            made[key] = shutil.copytree(packed, tmp_path_factory.mktemp("runs") / f"{engine}-{precision}-{steps}")
            fields = [f"pretrain.precision={precision}", f"pretrain.max_steps={steps}", "pretrain.record_ids=True"]
            train(engine, made[key], *fields)
        return made[key]

    return make


def pytest_configure() -> None:
    """Tests that press Ctrl-C or hang up hold under `nohup` and in a background job too, whose programs are told to
    ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Commands of the READMEs that no test runs: never silent."""
    terminalreporter.section("commands of the READMEs that are not run")
    for readme in READMES:
        for line in left_out(readme):
            terminalreporter.write_line(line)


LONGEST = ("tests/test_demo.py", "tests/train/test_engines.py", "tests/train/test_resume.py")
"""Minutes each: begun first, so that two workers end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the rest as it stands."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))
