"""Recipes: fields as flags, help from comments, and one line for what a person can get wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline.clean.config import CleanConfig
from pipeline.recipe import Recipe, from_command_line, plain_words, recipe_help
from pipeline.verbs import rewrite
from utils.console import UserError
from utils.recipe import field_comments, is_flag

DEMO = "configs/demo.yaml"


def recipe(*words: str) -> Recipe:
    return from_command_line([DEMO, *words])[2]


def test_fields_are_flags_with_or_without_dashes() -> None:
    assert recipe("pretrain.lr=1e-4").pretrain.lr == 1e-4
    assert recipe("--pretrain.lr=1e-4", "workspace=runs/x").workspace == "runs/x"
    assert recipe("clean.inputs=my.csv").clean.inputs[0].path == "my.csv"
    assert [i.path for i in recipe("clean.inputs=[a.csv, b.json]").clean.inputs] == ["a.csv", "b.json"]
    assert recipe().workspace == "runs/demo"
    assert recipe("pretrain.max_tokens=2e6").pretrain.max_tokens == 2_000_000


def test_a_flag_of_the_horizon_takes_the_recipes_place() -> None:
    given = recipe("pretrain.max_steps=20").pretrain
    assert (given.max_steps, given.epochs) == (20, None)
    with pytest.raises(UserError, match=r"^pretrain.epochs=2: .*; got max_steps, epochs"):
        recipe("pretrain.max_steps=20", "pretrain.epochs=2")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("pretrain.lrr=1", "unknown field pretrain.lrr; did you mean pretrain.lr?"),
        ("pretrian.lr=1", "unknown field pretrian; did you mean pretrain?"),
        ("pretrain.lr=fast", "expected a number, got 'fast'"),
        ("pretrain.batch_size=2.5", "expected a whole number, got 2.5"),
        ("pretrain.precision=fp8", "expected one of auto, fp32, bf16, fp16, got 'fp8'"),
        ("pretrain.batch_size=0", "batch_size = 0; it must be above 0"),
        ("pretrain.warmup=0.9", "warmup + decay = 1.4"),
        ("pretrain.resume=perhaps", "expected true or false"),
        ("clean.valid=2", "valid = 2.0"),
        ("tokenizer.vocab_size=20", "vocab_size = 20"),
        ("pretrain.micro_batch=some", "expected a whole number or 'auto'"),
        ("clean.inputs=[{file: a.csv}]", "unknown field clean.inputs[0].file"),
        ("clean.inputs=[{}]", "clean.inputs[0].path: missing; give a file, a folder or a glob"),
        ("clean.inputs=[a.csv, {source: s}]", "clean.inputs[1].path: missing"),
        ("clean.inputs=" + "[" * 5000, "not valid YAML (nested too deeply)"),
        ("pretrain.seed.deep=3", "seed is not a section of fields"),
    ],
)
def test_mistakes_are_told_in_one_line(flag: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe("pretrain.seed=3", f"--{flag}", "finetune.seed=3")
    assert str(caught.value).startswith(f"{flag}: ")
    assert said in str(caught.value)
    assert DEMO not in str(caught.value)  # the file is in order
    assert "\n" not in str(caught.value)


def test_a_mistake_of_the_file_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("clean: {sed: 1}\npretrain: {epochs: 1, warmup: 0.4}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        from_command_line([str(path), "clean.seed=3"])
    assert str(caught.value) == f"{path}: unknown field clean.sed; did you mean clean.seed?"
    path.write_text("pretrain: {epochs: 1, warmup: 0.4}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"^pretrain.decay=0.7: pretrain: warmup \+ decay = 1.1"):
        from_command_line([str(path), "pretrain.lr=1", "pretrain.decay=0.7"])


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("pretrain.min_lr=5", "min_lr = 5; it is a share of lr"),
        ("pretrain.seq_len=1e12", "tokens a step; give at most 134,217,728"),
        ("pretrain.samples=[a, 'b\udcff']", "samples[0]: not UTF-8"),  # as a shell hands over a broken letter
    ],
)
def test_what_training_could_not_follow_is_refused(flag: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        recipe(flag)


def test_two_horizons_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("pretrain: {max_steps: 3, epochs: 2}\n", encoding="utf-8")
    with pytest.raises(UserError, match="exactly one of max_steps, max_tokens, epochs; got max_steps, epochs"):
        from_command_line([str(path)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"clean: [unclosed", "not valid YAML"),
        (b"clean: " + b"[" * 5000, "not valid YAML (nested too deeply)"),
        (b"clean: {seed: 2024-13-45}", "not valid YAML (month must be in 1..12"),
        (b"- a\n- b\n", "mapping of sections"),
        (b"clean: 3\n", "clean"),
        ("clean: {seed: 1}  # 注释\n".encode("gb18030"), "not UTF-8"),
    ],
)
def test_broken_recipes_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.yaml") as caught:
        from_command_line([str(path)])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["my #1.csv", "a: b.csv", "a, b.csv", "2024-13-45", "1", "null", "*.csv", "[zh] a.csv"]
)
def test_a_path_is_taken_as_it_stands(name: str) -> None:
    assert [one.path for one in recipe(f"clean.inputs={name}").clean.inputs] == [name]
    assert recipe(f"evaluate.ask={name}").evaluate.ask == [name]


def test_one_name_or_a_list_of_them() -> None:
    for name in ("https://host/part-{0..9}.parquet", "my #1.jsonl", "hf://owner/name"):
        assert recipe(f"pretrain.stream={name}", "pretrain.max_steps=9").pretrain.stream == name
    several = recipe("pretrain.stream=[a.jsonl, b.jsonl]", "pretrain.max_steps=9").pretrain
    assert several.stream == ["a.jsonl", "b.jsonl"]
    with pytest.raises(UserError, match="pretrain: epochs: nobody knows how long a stream is; give max_steps"):
        recipe("pretrain.stream=a.jsonl")
    assert not recipe("pretrain.stream=").pretrain.streamed


def test_what_is_left_empty_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("clean:\n", encoding="utf-8")
    assert from_command_line([str(path)])[2].clean == CleanConfig()
    path.write_text("clean:\n  inputs:\n", encoding="utf-8")
    assert from_command_line([str(path)])[2].clean.inputs == []
    assert recipe("clean.inputs=").clean.inputs == []


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"configs/dmo.yaml: no such recipe; there are .*configs/demo.yaml"):
        from_command_line(["configs/dmo.yaml"])


def test_every_field_has_a_comment_and_stands_in_the_help() -> None:
    said = recipe_help()
    for name, section in vars(recipe()).items():
        if name in ("workspace", "overwrite"):
            continue
        fields = set(vars(section)) - {"fields"}
        assert fields <= set(field_comments(type(section))), f"{name}: a field without a comment"
        assert all(f"{name}.{field}=" in said for field in fields)


@pytest.mark.parametrize(
    "words",
    [["finetune"], ["finetune=True"], ["--finetune=True"], ["train", "--finetune=True"], ["train", "finetune=True"],
     ["--finetune", "True"], ["finetune=true"], ["train", "--finetune"], ["--finetune"]],
)  # fmt: skip
def test_finetune_in_all_its_spellings(words: list[str]) -> None:
    assert rewrite([*words, "--pretrain.lr=1"]) == ("finetune", ["pretrain.lr=1"])


def test_other_words_of_train() -> None:
    assert rewrite(["train", "--config", DEMO]) == ("train", [DEMO])
    assert rewrite(["train", f"--config={DEMO}", "--pretrain.lr", "1e-3"]) == ("train", [DEMO, "pretrain.lr=1e-3"])
    assert rewrite(["train", "--finetune=False"]) == ("train", [])
    with pytest.raises(UserError, match="did you mean train"):
        rewrite(["trian"])


def test_every_program_reads_the_same_spellings() -> None:
    assert recipe("--pretrain.lr", "1e-4", "--workspace", "runs/x").pretrain.lr == 1e-4
    assert from_command_line(["--config", DEMO, "--tokenizer.coverage", ".99"])[1] == ["tokenizer.coverage=.99"]
    assert from_command_line([f"--config={DEMO}"])[0] == DEMO
    assert from_command_line([f"config={DEMO}"])[0] == DEMO
    assert plain_words(["--until", "pack", "--until=pack"], ["until"]) == ["until=pack", "until=pack"]
    assert plain_words(["train", "--help", "x.yaml"]) == ["train", "--help", "x.yaml"]
    with pytest.raises(UserError, match=r"--pretrain\.lr: give its value"):
        recipe("--pretrain.lr")
    with pytest.raises(UserError, match="--pretrian: not understood"):
        recipe("--pretrian", "3")


def test_what_looks_like_a_field() -> None:
    assert is_flag("--clean.inputs=a=b.csv")
    assert not is_flag("configs/a=b.yaml")
    assert not is_flag("train")


def test_a_resolved_recipe_makes_the_same_again(tmp_path: Path) -> None:
    given = recipe("pretrain.max_steps=7", "model.hidden_size=96")
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(given.resolved(), allow_unicode=True), encoding="utf-8")
    assert from_command_line([str(path)])[2] == given
