"""The clean stage's first step alone, in this process: parse, mend, simplify, measure, signatures, write.

python -m bench.clean_first_step RECIPE FOLDER        prints MB of raw text a second of CPU
"""

from __future__ import annotations

import sys
import time

from pipeline.clean.inputs import expand
from pipeline.clean.read import read_piece
from pipeline.clean.stage import plan
from pipeline.clean.store import Store
from pipeline.recipe import from_command_line


def main() -> None:
    """Read every piece of the recipe's inputs."""
    config = from_command_line([sys.argv[1]])[2].clean
    raws = expand(config.inputs)
    pieces = plan(config, raws, Store(sys.argv[2]))
    began = time.process_time()
    for piece in pieces:
        read_piece(piece)
    print(sum(raw.size for raw in raws) / 1e6 / (time.process_time() - began))


if __name__ == "__main__":
    main()
