"""Who takes the step: parameters by name come in, a torch optimizer goes out."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pipeline.train.config import TrainConfig

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers for each parameter, beside the number of steps."""


def adamw(config: TrainConfig, parameters: Mapping[str, torch.Tensor]) -> torch.optim.AdamW:
    """AdamW; weight decay pulls on matrices only, never on the gains of norms."""
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    others = [p for p in parameters.values() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)
