"""The engine on DeepSpeed ZeRO 1, 2 and 3: the same steps, with moments, gradients and weights spread over ranks.

`ds_config.json` (or `--zero_stage`) chooses the stage; precision, clipping and accumulation come from the
recipe alone. DeepSpeed's own files are never read or written: weights and moments go in and out parameter by
parameter. The order in `prepare` matters: weights into the model before DeepSpeed sees it, flat state made by
hand, links renewed, then masters (which a bf16 start has rounded) and moments set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.train.config import TrainConfig
from pipeline.train.dealing import even_share
from pipeline.train.engine import Engine, Loss, StepResult, Weights, accelerator, load_masters
from pipeline.train.objectives.base import Batch
from pipeline.train.optimizers import MOMENTS, Moments, Share, Tensors, adamw
from utils.console import UserError, say, tell

DEFAULT_CONFIG = str(Path(__file__).resolve().parents[2] / "ds_config.json")


def deepspeed_config(config: TrainConfig, precision: str, world: int) -> dict[str, Any]:
    """`ds_config.json` with every "auto" filled in from the recipe; a value that contradicts it is refused."""
    path = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") or DEFAULT_CONFIG
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; put DeepSpeed's config there, or name another in the launcher's config"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); mend it") from None
    zero, given = values.setdefault("zero_optimization", {}), f"{path}: zero_optimization.stage"
    if "ACCELERATE_DEEPSPEED_CONFIG_FILE" not in os.environ:
        zero["stage"], given = int(os.environ["ACCELERATE_DEEPSPEED_ZERO_STAGE"]), "--zero_stage"
    if zero.get("stage") not in (1, 2, 3):
        raise UserError(f"{given} is {json.dumps(zero.get('stage'))}; give 1, 2 or 3")
    settle_offload(zero, path)
    micro = even_share(config.batch_size, world)  # only a label: micro-batches are the loop's business
    settled = {
        "train_micro_batch_size_per_gpu": micro,
        "train_batch_size": micro * world,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.clip,
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": False},
    }
    for name, ours in settled.items():
        theirs = values.get(name, "auto")
        if theirs not in ("auto", {"enabled": "auto"}, ours):
            raise UserError(f'{path}: {name} = {json.dumps(theirs)} contradicts the recipe; write "auto" there')
        values[name] = ours
    if "optimizer" in values or "scheduler" in values:
        raise UserError(f"{path}: optimizer and scheduler belong to the recipe; remove them there")
    fixed: dict[str, Any] = {
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 30,
    }
    if precision == "bf16":  # sums and messages in fp32, as on every other engine
        fixed |= {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    return values | fixed


OFFLOAD = {"offload_optimizer": "--offload_optimizer_device", "offload_param": "--offload_param_device"}
"""What may live in the CPU's memory: the section of the config file, and the launcher's flag."""


def settle_offload(zero: dict[str, Any], path: str) -> None:
    """The launcher's flags as sections of DeepSpeed's config; what cannot be done is refused."""
    for section, flag in OFFLOAD.items():
        asked = os.environ.get(f"ACCELERATE_DEEPSPEED_{flag[2:].upper()}", "none")
        known = zero.get(section, {}).get("device", "none")
        if "none" not in (asked, known) and asked != known:
            raise UserError(f"{flag} {asked} contradicts {section} in {path}; drop the flag")
        device = asked if known == "none" else known
        if device not in ("none", "cpu"):
            raise UserError(f"{section} to {device}: only the CPU's memory is offered; give cpu, or none")
        if device == "cpu" and section == "offload_param" and zero.get("stage") != 3:
            raise UserError(f"{section}: only ZeRO-3 can; give zero_stage 3, or offload the optimizer alone")
        if device == "cpu":
            zero.setdefault(section, {})["device"] = device


class ZeroEngine(Engine):
    """DeepSpeed ZeRO."""

    def __init__(self, config: TrainConfig, precision: str):
        if config.optimizer != "adamw":
            raise UserError(
                f"optimizer={config.optimizer} is not offered under DeepSpeed, which shards no state but AdamW's as "
                f"one process would step; optimizer=adamw keeps ZeRO, the ddp engine keeps {config.optimizer} "
                "(launch.engine=ddp, or of a launcher configs/accelerate/ddp.yaml)"
            )
        if precision == "fp16":
            raise UserError("precision=fp16 is not offered under DeepSpeed; use fp32, or the ddp engine")
        super().__init__(config, precision)
        self.name = f"zero{self.stage}"

    def _join(self) -> Any:
        from accelerate import DeepSpeedPlugin

        world = int(os.environ.get("WORLD_SIZE", "1"))
        values = deepspeed_config(self.config, self.precision, world)
        self.stage: int = values["zero_optimization"]["stage"]
        if not torch.cuda.is_available():
            say(tell("deepspeed on CPU: the first run compiles a small operator (half a minute)",
                     "在 CPU 上使用 DeepSpeed：首次运行需编译一个小算子（约半分钟）"))  # fmt: skip
        # Without the flag, transformers would build every later model in pieces spread over the ranks.
        return accelerator(cpu=False, plugin=DeepSpeedPlugin(hf_ds_config=values, zero3_init_flag=False))

    # ------------------------------------------------------------ the model comes in

    def prepare(self, model: torch.nn.Module, weights: Weights | None, example: Batch | None = None) -> None:
        """See the module's first paragraph for the order, each part of which was found necessary."""
        if weights:
            load_masters(model, weights.masters)
        masters = {name: p.detach().clone().float() for name, p in model.named_parameters()}
        model.to(self.device)
        self.names = [name for name, _ in model.named_parameters()]
        optimizer = adamw(self.config, dict(model.named_parameters()))
        engine, _ = self.accelerator.prepare(model, optimizer)
        self.model = engine
        self.zero: Any = engine.optimizer
        self.inner: Any = self.zero.optimizer
        self._copies = {}
        if weights:
            self._restore_moments(weights)
        else:
            self._make_flat_state(0)
        self._set(None, masters)

    def _restore_moments(self, weights: Weights) -> None:
        self.updates = weights.updates
        self._make_flat_state(weights.updates)
        for key in MOMENTS:
            self._set(key, weights.moments[key])

    def restore(self, weights: Weights) -> None:
        """Back to a checkpoint in the middle of a run; every rank has read all of it."""
        self._restore_moments(weights)
        self._set(None, weights.masters)
        with torch.no_grad():
            for name, parameter in self._parameters():
                self._set_copy(parameter, weights.masters[name])

    def _set_copy(self, parameter: Any, master: torch.Tensor) -> None:
        """The weights that products run with follow their masters by themselves in a step only."""
        if self.stage < 3:
            parameter.copy_(master)
            return
        parameter.ds_tensor.copy_(self._partition(parameter, master))
        if parameter.data.numel() == master.numel():  # small ones are never taken apart
            parameter.data.copy_(master.view(parameter.ds_shape))

    def _flat_masters(self) -> list[torch.Tensor]:
        """The flat fp32 tensors that this rank's optimizer steps on; three optimizers, three names."""
        if self.stage == 3:
            return list(self.zero.fp32_partitioned_groups_flat)
        if type(self.zero).__name__ == "BF16_Optimizer":  # what DeepSpeed takes for stage 1 in bf16
            return list(self.zero.fp32_groups_flat_partition)
        return list(self.zero.single_partition_of_fp32_groups)

    def _make_flat_state(self, updates: int) -> None:
        for flat in self._flat_masters():
            step = torch.tensor(float(updates), device=flat.device)
            self.inner.state[flat] = {"step": step, **{key: torch.zeros_like(flat) for key in MOMENTS}}
        if self.stage < 3:  # with two parameter groups DeepSpeed links only the first by itself
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self.model.module.named_parameters())  # type: ignore[union-attr]

    def _set(self, key: str | None, values: Tensors) -> None:
        """Write masters (key None) or a moment of every parameter; each rank writes the part it holds."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for name, parameter in self._parameters():
            value = values[name].to(self.device)
            if self.stage == 3:
                self._set_partition(parameter, value, key)
            elif key is None:
                safe_set_full_fp32_param(parameter, value)
            else:
                safe_set_full_optimizer_state(parameter, value, key)

    def _set_partition(self, parameter: Any, value: torch.Tensor, key: str | None) -> None:
        """ZeRO-3's own setters fail where a size does not divide by the world: write the padded partition."""
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        mine = self._partition(parameter, value)
        if key is None:
            safe_set_local_fp32_param(parameter, mine)
        else:
            safe_set_local_optimizer_state(parameter, mine, key)

    def _partition(self, parameter: Any, value: torch.Tensor) -> torch.Tensor:
        """This rank's part of a parameter's value, padded."""
        size = parameter.ds_tensor.numel()
        padded = torch.zeros(size * self.world, device=value.device, dtype=torch.float32)
        padded[: value.numel()] = value.flatten()
        return padded[size * self.rank : size * (self.rank + 1)]

    # ------------------------------------------------------------ a step

    def step(self, loss_of: Loss, batches: Sequence[Batch], count: float, lr: float) -> StepResult:
        """As everywhere: summed losses over the global count; DeepSpeed averages over ranks, hence times world."""
        engine: Any = self.model
        engine.train()
        for group in self.inner.param_groups:
            group["lr"] = lr
        total = torch.zeros((), device=self.device, dtype=torch.float32)
        for number, batch in enumerate(batches, start=1):
            engine.set_gradient_accumulation_boundary(number == len(batches))
            loss_sum = loss_of(engine, batch)
            engine.backward(loss_sum * (self.world / count), scale_wrt_gas=False)
            total += loss_sum.detach()
        engine.step()
        norm = engine.get_global_grad_norm()
        if self.zero.overflow:  # the gradient was not finite: DeepSpeed has skipped the step, and says inf
            self._drop_skipped_sums()
        else:
            self.updates += 1
        return StepResult(self.sum([float(total)])[0] / count, float(norm))

    def _drop_skipped_sums(self) -> None:
        """With the optimizer offloaded, ZeRO-1 and 2 keep the sums of a skipped step, and every later one is inf."""
        sums = getattr(self.zero, "averaged_gradients", None) if self.stage < 3 else None
        for group in sums or ():
            sums[group] = None  # type: ignore[index]

    # ------------------------------------------------------------ what goes out

    def weights(self) -> Weights | None:
        """Gathered parameter by parameter: every rank takes part, rank 0 keeps."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        masters: Tensors = {}
        moments: Moments = {key: {} for key in MOMENTS}
        for name, parameter in self._parameters():
            master = safe_get_full_fp32_param(parameter)
            states = {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
            if self.rank == 0:
                masters[name] = _copied(master, parameter)
                for key, value in states.items():
                    moments[key][name] = _copied(value, parameter)
        return Weights(masters, moments, self.updates) if self.rank == 0 else None

    def census(self) -> list[Share]:
        """AdamW alone, its tensors cut into as many pieces as there are ranks."""
        return [Share("adamw", len(self.names), sum(self._sizes()))]

    def optimizer_bytes(self) -> list[int]:
        """As even as can be."""
        return [4 * len(MOMENTS) * sum(self._sizes()) // self.world] * self.world

    def _sizes(self) -> list[int]:
        return [getattr(parameter, "ds_numel", parameter.numel()) for _, parameter in self._parameters()]


def _copied(value: torch.Tensor, parameter: Any) -> torch.Tensor:
    shape = getattr(parameter, "ds_shape", parameter.shape)
    return value.detach().float().cpu().clone().view(shape)
