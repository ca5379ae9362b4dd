"""Learning of hidden layers without a run folder that stays: for studies and estimators."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from scff_hw.backends import Backend
from scff_hw.core.network import Network
from scff_hw.documents import Scaling
from scff_hw.recipes import Recipe
from scff_hw.training.hidden_layers import hidden_stages, learn_hidden
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.run_context import AnyDataset, RunContext, StopRequest
from scff_hw.training.run_folder import METRICS, Position, RunFolder


def learn_in_memory(
    recipe: Recipe,
    seed: int,
    dataset: AnyDataset,
    scaling: Scaling,
    backend: Backend,
    network: Network,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train the hidden layers of `network` in place, on the CPU, and return the metrics of every epoch.

    Raises:
        DivergenceError: learning diverged; the network is as it was then.
    """
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder, stop, cpu = RunFolder(Path(name)), StopRequest(), torch.device("cpu")
        context = RunContext(
            recipe, seed, dataset, scaling, backend, network, folder, progress or SilentProgress(), cpu, stop
        )
        try:
            for stage in hidden_stages(recipe):
                learn_hidden(context, stage, Position(stage.name))
        finally:
            folder.close()
        lines = (folder.path / METRICS).read_text(encoding="utf-8").splitlines() if hidden_stages(recipe) else []
    records = [json.loads(line) for line in lines]
    return [record for record in records if record["kind"] == "epoch"]
