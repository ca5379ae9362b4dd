"""One run of a study: request, points, table, plots, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scff_hw.documents import SCHEMA, DataIdentity, StudyDescription, read_document, write_document
from scff_hw.errors import UsageError
from scff_hw.files import LOCK, exclusive, is_partial, remove_stale
from scff_hw.hardware.available import require_aihwkit
from scff_hw.report import Picture, SummaryRow, pairs_plot, study_html, study_plot, write_atomic
from scff_hw.studies.backprop import LEARNING_RATE
from scff_hw.studies.engine import run_points
from scff_hw.studies.options import read_options
from scff_hw.studies.point import DATA
from scff_hw.studies.registry import find_study
from scff_hw.studies.request import Request, read_source
from scff_hw.studies.table import as_csv, summarised
from scff_hw.studies.worker import measure_point
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.run_context import check_data, data_identity, recipe_dataset
from scff_hw.training.run_folder import versions

STUDY = "study.json"
RESULTS = "results.csv"
PLOT = "accuracy.png"
REPORT = "report.html"
PAIRS = "pairs.png"


def request_study(
    name: str,
    source: str,
    *,
    profile: str | None = None,
    vary: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 3,
    data_dir: Path | None = None,
    backprop_rate: float | None = LEARNING_RATE,
    options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Request:
    """Validate the inputs of a study, without any measurement.

    Args:
        source: a recipe, or the folder of a finished run, whose recipe, seed and weights are used.
        profile: None for "ideal", and for a study without devices.
        vary: `key=v1,v2,...` texts; keys of the profile, or, in a study without devices, of the recipe: below
            `fixed_point` in fixed point, any key in float.
        seeds: number of seeds, counted from 0 or from the run's seed.
        backprop_rate: learning rate of analog SGD, None for no backpropagation; ignored by a study without devices.
        options: the study's own options, by field name of its model.

    Raises:
        UsageError: the study cannot be measured; the message says what is allowed.
        PluginError: the package of the study cannot be imported.
        MissingPartError: aihwkit is not installed, or does not work.
    """
    study, progress = find_study(name), progress or SilentProgress()
    recipe, run = read_source(source, overrides)
    for key, allowed in (("dtype", ("float32",)), ("device", ("auto", "cpu"))):
        value = getattr(recipe.training, key)
        if run is None and value not in allowed:
            raise UsageError(
                f"A study computes in float32 on the cpu, so training.{key} must be {' or '.join(allowed)}. "
                f"Got '{value}' instead; type: --set training.{key}={allowed[0]}"
            )
    hardware, variants = study.hardware.grid(name, recipe, profile, vary, progress)
    first = 0 if run is None else run["seed"]
    seed_range = tuple(range(first, first + seeds))
    rate = backprop_rate if study.on_devices else None
    study_options = read_options(name, study.Options, options or {})
    request = Request(name, recipe, hardware, variants, seed_range, run, data_dir, rate, study_options)
    if study.varies is not None and request.keys:
        raise UsageError(
            f"The study {name} takes no --vary: it varies {study.varies}. Got --vary {request.keys[0]} instead."
        )
    study.check(request)
    if study.on_devices:
        require_aihwkit()
    return request


def run_study(
    request: Request,
    out: Path,
    *,
    engine: str = "local",
    jobs: int = 1,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure every point that `out` does not contain yet, then write results.csv, accuracy.png and report.html there.

    A study with examples of pairs writes pairs.png too.

    The same call resumes a killed study; more seeds or values add points to the folder.

    Returns:
        `study`, `out`, `points`, `results` (the table's rows with mean, standard deviation and count over seeds), and
        the plotted `panels`.

    Raises:
        UsageError: `out` contains other files, or a study of other data.
        BusyError: another process measures in `out`.
        ScffError: a point failed.
    """
    _check_out(out)
    data = _data(request)
    with exclusive(out / LOCK, out):
        remove_stale(out)
        _claim(out, request, data)
        return _measure(request, out, data, engine, jobs, command, progress or SilentProgress())


def _measure(
    request: Request, out: Path, data: dict[str, DataIdentity], engine: str, jobs: int, command: str, progress: Progress
) -> dict[str, Any]:
    study = find_study(request.study)
    digests = {DATA: {name: identity.digest for name, identity in data.items()}}
    points = [replace(point, parameters=point.parameters | digests) for point in study.points(request)]
    rows = run_points(points, out, measure_point, engine=engine, jobs=jobs, progress=progress)
    panels = study.panels(request, rows)
    results: list[SummaryRow] = summarised(rows)
    write_atomic(out / RESULTS, as_csv(rows).encode())
    plot = Picture(lambda theme: study_plot(panels, theme))
    write_atomic(out / PLOT, plot.png())
    examples = study.pairs(request)
    pairs = Picture(lambda theme: pairs_plot(examples, theme)) if examples else None
    if pairs is not None:
        write_atomic(out / PAIRS, pairs.png())
    page = study_html(
        title=f"{study.title}: {request.subject}",
        explanation=study.explanation,
        plot=plot,
        panels=panels,
        results=results,
        command=command,
        documents=request.describe(),
        versions=versions(),
        seeds=request.seeds,
        pairs=pairs,
    )
    write_atomic(out / REPORT, page.encode())
    return {"study": request.study, "out": str(out), "points": len(points), "results": results, "panels": panels}


def _data(request: Request) -> dict[str, DataIdentity]:
    """Return the identities of the data sets of a study by name.

    Raises:
        DataError: a data set is missing or damaged, or not the one that the study's run was trained on.
    """
    recipes = [request.recipe, *(variant.recipe for variant in request.variants if variant.recipe is not None)]
    identities = {}
    for name, recipe in {recipe.data.name: recipe for recipe in recipes}.items():
        dataset = recipe_dataset(recipe, request.seeds[0], request.data_dir)
        identities[name] = data_identity(recipe, dataset, request.data_dir)
    if request.run is not None:
        run = Path(request.run["path"])
        check_data(identities[request.recipe.data.name], FinishedRun.open(run).details.data, run)
    return identities


def _check_out(out: Path) -> None:
    """Raise UsageError for a folder with files that are not of a study."""
    if (out / STUDY).exists() or not out.exists():
        return
    if not out.is_dir() or any(path.name != LOCK and not is_partial(path) for path in out.iterdir()):
        raise UsageError(f"The folder {out} is not empty and holds no study; choose another --out.")


def _claim(out: Path, request: Request, data: dict[str, DataIdentity]) -> None:
    """Write `out`'s study.json, or check that it describes this study."""
    _check_out(out)
    path = out / STUDY
    digests = {name: identity.digest for name, identity in data.items()}
    described = StudyDescription.model_validate({"schema": SCHEMA, **request.describe(), "data": digests})
    if not path.exists():
        write_document(path, described)
        return
    stored = read_document(path, StudyDescription)
    different = [key for key in StudyDescription.model_fields if getattr(stored, key) != getattr(described, key)]
    if different == ["data"] and stored.data.keys() == digests.keys():
        for name, digest in stored.data.items():
            check_data(data[name], data[name].model_copy(update={"digest": digest}), out)
    if different:
        raise UsageError(
            f"The folder {out} holds another study (its {different[0]} is not this one's); choose another --out."
        )
