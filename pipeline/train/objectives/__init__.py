"""What is learned: pretrain and finetune, one small file each; a new objective is a new file and a line here."""

from __future__ import annotations

from pipeline.train.objectives.base import Objective
from pipeline.train.objectives.finetune import FINETUNE
from pipeline.train.objectives.pretrain import PRETRAIN

OBJECTIVES: dict[str, Objective] = {"pretrain": PRETRAIN, "finetune": FINETUNE}
