"""The training verbs: `accelerate launch train.py train` and `… finetune`.

    accelerate launch train.py train                                   # configs/demo.yaml
    accelerate launch train.py train --config configs/gpt-64m.yaml pretrain.max_steps=2000
    accelerate launch --multi_gpu --num_processes 2 train.py finetune=True
    accelerate launch --config_file accelerate.yaml train.py train     # DeepSpeed

Fields are given as section.key=value, with or without dashes; `train.py train --help` lists them. Earlier
stages that are missing run first.
"""

from __future__ import annotations

import sys

from utils.console import run_program


def main() -> None:
    """Hand the words over; imported here, so that a Ctrl-C in the first second finds its handler."""
    from pipeline.verbs import dispatch

    dispatch(sys.argv[1:])


if __name__ == "__main__":
    run_program(main)
