"""Runs and studies in Python: training, tables, features, predictions, plots and exports of a run folder.

    import scff_hw

    run = scff_hw.train("digits-20", "runs/first", overrides=["readout.solver=ridge"])
    run.metrics                                      # a DataFrame
    run.features("test"), run.predictions("test")    # float32 [N, F], int64 [N]
    run.evaluate(profile="ecram")                    # accuracy on other hardware
    run.export("onnx", "exported")

    scff_hw.study("controls", "digits-20", "studies/first", seeds=3)    # a DataFrame

The functions do what the commands of the same names do, and write the same files.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.core.network import Network
from scff_hw.documents import RunSummary
from scff_hw.errors import MissingPartError
from scff_hw.files import AnyPath
from scff_hw.hardware import Profile, load_profile
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.report import first_layer, learning_curves, read_run
from scff_hw.training import REPEATS, FinishedRun, Progress, evaluate
from scff_hw.training import train as train_run
from scff_hw.training.features import CHUNK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Run:
    """A finished run in a folder; made by `open_run` and `train`.

    Attributes:
        finished: its files, read and checked at first use.
    """

    def __init__(self, finished: FinishedRun) -> None:
        self.finished = finished

    def __repr__(self) -> str:
        run = self.finished
        return f"<Run {run.path}: {run.recipe.name}, seed {run.seed}, {run.backend}, test accuracy {run.accuracy:.2%}>"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.finished.path

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.finished.recipe

    @property
    def accuracy(self) -> float:
        """Test accuracy, 0..1, as measured at the end of training."""
        return self.finished.accuracy

    @property
    def summary(self) -> RunSummary:
        """Accuracies, readouts and times: summary.json."""
        return self.finished.summary

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All logged metrics, one row per line of metrics.jsonl; `kind` is "batch", "epoch", "readout fit", ...

        Raises:
            MissingPartError: pandas is not installed.
        """
        return _pandas().DataFrame.from_records(list(read_run(self.path).records))

    @property
    def network(self) -> Network:
        """The network for inference: float32, or integers of a run on the fixed backend."""
        return self.finished.network if self.finished.fixed is None else self.finished.fixed.network

    def features(self, part: str = "test") -> NDArray[np.float32]:
        """Return the features of the readout for one part of the data, float32 `[N, F]`.

        Weights of an analog run are those read back at its end, without read noise.
        """
        samples, layers = self.finished.samples(part), self.finished.read_layers
        with torch.no_grad():
            chunks = torch.arange(len(samples)).split(CHUNK)
            return torch.cat([self.network.features(samples.batch(chunk), layers).float() for chunk in chunks]).numpy()

    def labels(self, part: str = "test") -> NDArray[np.int64]:
        """Return the labels of one part of the data, int64 `[N]`."""
        return self.finished.samples(part).labels.numpy()

    def predictions(self, part: str = "test") -> NDArray[np.int64]:
        """Return the class of each sample of one part of the data, int64 `[N]`."""
        weight, bias = (value.double() for value in self.finished.readout)
        features = torch.from_numpy(self.features(part)).double()
        return torch.addmm(bias, features, weight.T).argmax(dim=1).numpy()

    def evaluate(self, profile: str | Profile | None = None, repeats: int = REPEATS) -> dict[str, Any]:
        """Measure the accuracy again, or on the hardware of `profile`; see `scff_hw.training.evaluate`."""
        hardware = load_profile(profile) if isinstance(profile, str) else profile
        return evaluate(self.path, profile=hardware, repeats=repeats, data_dir=self.finished.data_dir)

    def export(self, exporter: str, out: AnyPath, **options: Any) -> dict[str, Any]:
        """Export to `out` with an exporter's options, e.g. `export("c", "out", target="cortex-m4")`.

        Returns:
            The manifest.
        """
        from scff_hw.export.registry import EXPORTERS

        kind = EXPORTERS.get(exporter)
        return kind().export(self.finished, out, kind.Options(**options)).as_json()

    def learning_curves(self) -> Figure:
        """Plot goodness and loss over batches."""
        return learning_curves(read_run(self.path))

    def filters(self) -> Figure:
        """Plot the weights of the first layer, and its initial weights."""
        return first_layer(read_run(self.path))


def open_run(path: AnyPath, data_dir: AnyPath | None = None) -> Run:
    """Open a finished run.

    Args:
        data_dir: folder of the data sets; None for the default.

    Raises:
        CheckpointError: `path` is not a run, or it is not finished.
    """
    return Run(FinishedRun.open(path, data_dir))


def train(
    recipe: Recipe | AnyPath,
    out: AnyPath,
    *,
    overrides: Iterable[str] = (),
    seed: int = 0,
    backend: str = "float",
    profile: str | Profile | None = None,
    data_dir: AnyPath | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a recipe into the folder `out`, and open the run; as the command `scff-hw train`, bit for bit.

    Args:
        recipe: a recipe, the name of a packaged one, or the path of a YAML file.
        overrides: `key=value` texts, for a name or a path.
        profile: hardware of backends that simulate devices: a profile, its name or its path.
        resume: continue a killed run from its last checkpoint.

    Raises:
        UsageError: the recipe, the backend, the data or the folder cannot be used.
        DivergenceError: learning diverged.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe), overrides)
    hardware = load_profile(profile) if isinstance(profile, str) else profile
    options: dict[str, Any] = {"seed": seed, "backend": backend, "profile": hardware, "resume": resume}
    train_run(loaded, out, data_dir=data_dir, progress=progress, **options)
    return open_run(out, data_dir)


def study(
    name: str,
    recipe: AnyPath,
    out: AnyPath,
    *,
    seeds: int = 1,
    jobs: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure a study into the folder `out`, and return its table, one row per measurement; see results.csv.

    Args:
        options: as in `scff_hw.studies.request_study`, e.g. `profile="ecram"`, `vary=["training.batch_size=50,100"]`.

    Raises:
        UsageError: the study, the recipe or an option cannot be used.
        MissingPartError: pandas is not installed.
    """
    from scff_hw.studies import request_study, run_study

    frame = _pandas()
    run_study(request_study(name, str(recipe), seeds=seeds, **options), Path(out), jobs=jobs, progress=progress)
    return frame.read_csv(Path(out) / "results.csv")


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise MissingPartError("Tables need pandas; type: pip install 'scff-hw[table]'") from None
    return pd
