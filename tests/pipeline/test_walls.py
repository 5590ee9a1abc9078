"""Who may know whom: the arrows of docs/design.md, read from the code's own imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT, TINY, run

STAGES = sorted(p.name for p in (ROOT / "pipeline").iterdir() if (p / "__init__.py").is_file())
OURS = {"pipeline", "model", "utils", "train", "cli_demo", "tests", "bench"}


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the project's modules that a file imports, relative imports resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, [base, node.module or ""]))
            yield from [name, *(f"{name}.{alias.name}" for alias in node.names)]


def known_to_all(path: Path) -> set[str]:
    """The packages of others that a file imports."""
    return {name.split(".")[0] for name in imports(path)} - OURS - set(sys.stdlib_module_names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def known_by(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] in OURS}


def test_there_are_stages_to_guard() -> None:
    assert {"clean", "tokenizer", "pack", "train", "evaluate", "serve"} <= set(STAGES)


@pytest.mark.parametrize("path", files("utils"), ids=str)
def test_utils_knows_nobody(path: Path) -> None:
    assert all(name.split(".")[0] == "utils" for name in known_by(path))


@pytest.mark.parametrize("path", files("model"), ids=str)
def test_model_knows_only_itself(path: Path) -> None:
    assert all(name.split(".")[0] == "model" for name in known_by(path))
    assert known_to_all(path) <= {"torch", "transformers", "safetensors"}  # the last comes with transformers


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline").glob("*.py")), ids=str)
def test_what_runs_the_stages_knows_nothing_above_it(path: Path) -> None:
    assert {name.split(".")[0] for name in known_by(path)} <= {"pipeline", "model", "utils"}


@pytest.mark.parametrize("path", files("model/gpt"), ids=str)
def test_a_family_imports_nothing_above_itself(path: Path) -> None:
    assert all(name.startswith("model.gpt") for name in known_by(path))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_no_other(stage: str) -> None:
    for path in files(f"pipeline/{stage}"):
        # Reading a whole recipe is what a stage's own command does; nothing else of it may look beyond the stage.
        allowed = {"pipeline.recipe"} if path.name == "__main__.py" else set()
        for name in known_by(path):
            top, _, rest = name.partition(".")
            inside = rest.split(".")[0] == stage
            fine = top in ("model", "utils") or name == "pipeline" or inside or any(name.startswith(a) for a in allowed)
            assert fine, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "module",
    ["pipeline.clean.stage", "pipeline.tokenizer.stage", "pipeline.pack.stage", "pipeline.recipe", "pipeline.runner"],
)
def test_no_torch_before_training(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


CHEAP_STAGES = """
import sys
from pipeline.clean.__main__ import clean
from pipeline.pack.__main__ import pack
from pipeline.recipe import from_command_line
from pipeline.tokenizer.__main__ import tokenizer
recipe = from_command_line(sys.argv[1:])[2]
assert clean(recipe) and tokenizer(recipe) and pack(recipe)
print(*{"torch", "transformers", "datasets"} & set(sys.modules))
"""


def test_no_torch_while_the_cheap_stages_work(tmp_path: Path) -> None:
    """In one process, for a pool's workers would import out of sight."""
    workspace = f"workspace={tmp_path / 'w'}"
    said = run([sys.executable, "-c", CHEAP_STAGES, TINY, workspace, "clean.workers=1", "pack.workers=1"])
    assert (tmp_path / "w" / "pack" / "manifest.json").is_file()
    assert said.splitlines()[-1] == ""
