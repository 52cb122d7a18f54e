"""FedAvg (McMahan et al. 2017) and FedIT (Zhang et al. 2023): clients train by backpropagation.

Both take steps of AdamW, whose state begins anew with each client and round. FedAvg trains all parameters; FedIT adapters of
low rank (Hu et al. 2021) in the attention's query and value projections, as peft makes them.
"""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.quality.averaged import averaged
from benchmarks.quality.experiments import Run
from benchmarks.quality.records import Result
from benchmarks.quality.stage import Stage
from fedkseed.objectives import Encoded

RANK, ALPHA = 8, 16
TARGETS = ["q_proj", "v_proj"]
CLIP = 1.0  # the norm of a gradient, at most


def fedavg(run: Run) -> Result:
    """All parameters."""
    stage = Stage(run.federation, run.dtype)
    return _averaged(run, stage, list(stage.base.parameters.values()))


def fedit(run: Run) -> Result:
    """Adapters; the model itself stays as it is."""
    import peft

    stage = Stage(run.federation, run.dtype)
    torch.manual_seed(run.seed)  # the only chance that peft has
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)
    peft.inject_adapter_in_model(config, stage.base.model)
    return _averaged(run, stage, [p for p in stage.base.model.parameters() if p.requires_grad])


def _averaged(run: Run, stage: Stage, parameters: list[torch.nn.Parameter]) -> Result:
    model: Any = stage.base.model
    model.float().to(stage.device)
    with stage.mixed():
        return averaged(run, stage, Backpropagation(stage, parameters, run.federation.training.lr))


class Backpropagation:
    """Steps of AdamW on shared parameters; see `averaged.Learner`.

    Args:
        stage: model and loss.
        parameters: what is trained, float32.
        lr: the learning rate.
    """

    passes = 3

    def __init__(self, stage: Stage, parameters: Sequence[torch.nn.Parameter], lr: float) -> None:
        self.trained = sum(p.numel() for p in parameters)
        self._stage, self._parameters, self._lr = stage, parameters, lr
        self._shared = [p.detach().clone() for p in parameters]
        self._mean = [torch.zeros_like(p) for p in self._shared]

    def learn(self, batches: Sequence[Sequence[Encoded]], share: float, chance: int) -> None:
        """Train one client."""
        del chance
        self._show()
        reader = self._stage.reader
        optimiser = torch.optim.AdamW(self._parameters, lr=self._lr, weight_decay=0.0, fused=True)
        for batch in batches:
            optimiser.zero_grad()
            reader.losses(reader.prepare(batch))[0].mean().backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
            optimiser.step()
        optimiser.zero_grad()
        for mean, parameter in zip(self._mean, self._parameters, strict=True):
            mean.add_(parameter.detach(), alpha=share)

    def fold(self) -> None:
        """Share the mean."""
        self._shared, self._mean = self._mean, self._shared
        for mean in self._mean:
            mean.zero_()
        self._show()

    def _show(self) -> None:
        with torch.no_grad():
            for parameter, shared in zip(self._parameters, self._shared, strict=True):
                parameter.copy_(shared)
