"""The words after `train.py`: which verb, which recipe, which fields. Fire dispatches; a short rewriter stands before.

`finetune`, `finetune=True`, `--finetune=True`, `train --finetune=True` and `train finetune=True` are one verb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.recipe import HELP, from_command_line, plain_words, recipe_help
from pipeline.runner import train_here
from pipeline.train.config import Verb
from utils.console import UserError
from utils.recipe import nearest

VERBS: dict[str, Verb] = {"train": "pretrain", "finetune": "finetune"}
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")

USAGE = """\
accelerate launch train.py VERB [RECIPE.yaml] [section.key=value …]

  train      pretrain: learn to continue text
  finetune   learn to answer (also: finetune=True)

Earlier stages that are missing run first. Without a recipe: configs/demo.yaml.
"""


def dispatch(argv: Sequence[str]) -> None:
    """Run what the command line says."""
    if not argv or set(HELP) & set(argv):
        print(USAGE + "\n" + recipe_help(["pretrain", "finetune", "model", "launch"]))
        return
    import fire

    verb, words = rewrite(argv)
    commands = {name: fire.decorators.SetParseFn(str)(_command(stage)) for name, stage in VERBS.items()}
    fire.Fire(commands, command=[verb, *words], name="train.py")


def _command(stage: Verb) -> Callable[..., None]:
    def command(*words: str) -> None:
        train_here(stage, *from_command_line(words))

    return command


def rewrite(argv: Sequence[str]) -> tuple[str, list[str]]:
    """All spellings as (verb, words): nothing keeps its dashes, so that Fire sees words and nothing else."""
    verb, words = None, []
    todo = plain_words(argv)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if name in VERBS and not equals and word.startswith("--") and todo and todo[0].lower() in YES + NO:
            equals, value = "=", todo.pop(0)  # --finetune True
        if name in VERBS and (not equals or value.lower() in YES):
            verb = "finetune" if "finetune" in (verb, name) else name
        elif name in VERBS and value.lower() in NO:
            continue
        else:
            words.append(word.lstrip("-"))
    if verb is None:
        word = next((w for w in words if "=" not in w and not w.endswith((".yaml", ".yml"))), argv[0])
        raise UserError(f"train.py {word}: give a verb{nearest(word, VERBS)}")
    return verb, words
