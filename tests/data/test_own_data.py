"""Own data: arrays, tables and folders of images become data sets; whatever cannot be used is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scff_hw.cli import main
from scff_hw.data.own import ArraysOptions, ImagesOptions, OwnSource, TableOptions, kind_of, own_dataset, read_own
from scff_hw.errors import DataError, RecipeError
from scff_hw.recipes import dump_recipe, load_recipe
from scff_hw.training.finished import FinishedRun

RECIPE = """
name: mine
description: own data
source: here
data: {{{data}}}
layers:
  - kind: dense
    units: 12
    init: linear
    pairs: made
    learn: {{epochs: 4, optimiser: sgd, learning_rate: 0.3, theta_pos: 1.0, theta_neg: 2.0}}
readout: {{layers: [1], solver: ridge}}
"""


def arrays(path: Path, **content: Any) -> OwnSource:
    np.savez(path, **content)
    return OwnSource("arrays", path)


def table(path: Path, text: str, **options: Any) -> OwnSource:
    path.write_text(text)
    return OwnSource("table", path, TableOptions(**options))


def vectors(count: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vectors of three features around the corners of a triangle."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return np.eye(3)[labels] * 4 + draw.normal(size=(count, 3)), labels


def csv(count: int = 60, seed: int = 0) -> str:
    """A table of three sensors, a subject and a state."""
    x, labels = vectors(count, seed)
    states = ("idle", "walk", "run")
    rows = enumerate(zip(x, labels, strict=True))
    lines = [f"{a:.4f},{b:.4f},{c:.4f},s{k % 7},{states[y]}" for k, ((a, b, c), y) in rows]
    return "\n".join(["ax,ay,az,subject,state", *lines]) + "\n"


def pictures(root: Path, mode: str = "L", size: tuple[int, int] = (8, 6), count: int = 5) -> Path:
    """A folder of images per class, bright above or bright below."""
    draw = np.random.default_rng(0)
    for name in ("above", "below"):
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = draw.integers(0, 100, (size[1], size[0], 3), dtype=np.uint8)
            pixels[: size[1] // 2 if name == "above" else None :][: size[1] // 2] += 100
            Image.fromarray(pixels).convert(mode).save(root / name / f"{k}.png")
    return root


# what is read


def test_arrays_with_parts_of_their_own(tmp_path: Path) -> None:
    x, y = vectors(30)
    parts = {"x_train": x[:20], "y_train": y[:20], "x_test": x[20:], "y_test": y[20:], "x_unlabelled": x[:5]}
    source = arrays(tmp_path / "a.npz", **parts)
    dataset = own_dataset(source, "mine")
    assert dataset.classes == ("0", "1", "2") and dataset.unlabelled is not None and len(dataset.unlabelled) == 5
    assert torch.equal(dataset.train.images, torch.from_numpy(x[:20]).float())
    assert dataset.test.labels is not None and dataset.test.labels.tolist() == y[20:].tolist()


def test_arrays_in_a_folder_are_split_by_class(tmp_path: Path) -> None:
    images = np.arange(40 * 30, dtype=np.uint8).reshape(40, 5, 6)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.array(["b", "a"] * 20))
    parts = read_own(OwnSource("arrays", tmp_path, test_share=0.25, split_seed=3))
    assert parts.shape == (1, 5, 6) and parts.classes == ("a", "b")
    assert np.bincount(parts.labels["test"]).tolist() == [5, 5] and len(parts.labels["train"]) == 30
    again = read_own(OwnSource("arrays", tmp_path, test_share=0.25, split_seed=4))
    assert not np.array_equal(again.samples["test"], parts.samples["test"])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"sensors.{suffix}"
    frame = pd.read_csv(table(tmp_path / "plain.csv", csv()).path)
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    parts = read_own(OwnSource("table", path, TableOptions(label="state", features=("ax", "az"))))
    assert parts.classes == ("idle", "run", "walk") and parts.features == ("ax", "az")
    whole = np.concatenate([parts.samples["train"], parts.samples["test"]])
    assert sorted(map(tuple, whole)) == sorted(map(tuple, frame[["ax", "az"]].to_numpy(dtype=np.float32)))
    assert np.bincount(parts.labels["test"]).tolist() == [4, 4, 4]


def test_a_subject_is_in_one_part_only(tmp_path: Path) -> None:
    path = tmp_path / "sensors.csv"
    source = table(path, csv(), label="state", group="subject")
    parts, frame = read_own(source), pd.read_csv(path)
    x = frame[["ax", "ay", "az"]].to_numpy(dtype=np.float32)
    rows = dict(zip(map(tuple, x), frame["subject"], strict=True))
    assert len(parts.samples["test"]) == pytest.approx(60 * 0.2, abs=6)
    subjects = {part: {rows[tuple(row)] for row in parts.samples[part]} for part in ("train", "test")}
    assert subjects["train"] and subjects["test"] and not subjects["train"] & subjects["test"]


def test_a_table_with_a_split_of_its_own(tmp_path: Path) -> None:
    text = "a,b,part,label\n1,2,train,x\n3,4,train,y\n5,6,test,x\n7,8,test,y\n9,9,unlabelled,\n"
    parts = read_own(table(tmp_path / "t.csv", text, split="part"))
    assert {name: len(x) for name, x in parts.samples.items()} == {"train": 2, "test": 2, "unlabelled": 1}
    assert parts.labels["test"].tolist() == [0, 1]


def test_decimal_commas_and_semicolons(tmp_path: Path) -> None:
    text = csv().replace(",", ";").replace(".", ",")
    parts = read_own(table(tmp_path / "t.csv", text, label="state", features=("ax", "ay"), separator=";", decimal=","))
    expected = read_own(table(tmp_path / "u.csv", csv(), label="state", features=("ax", "ay")))
    assert np.array_equal(parts.samples["train"], expected.samples["train"])


def test_images(tmp_path: Path) -> None:
    parts = read_own(OwnSource("images", pictures(tmp_path / "i"), ImagesOptions(), test_share=0.4))
    assert parts.shape == (1, 6, 8) and parts.classes == ("above", "below")
    assert len(parts.samples["test"]) == 4 and parts.samples["train"].dtype == np.uint8
    resized = read_own(OwnSource("images", tmp_path / "i", ImagesOptions((4, 4), 3)))
    assert resized.shape == (3, 4, 4)


def test_images_are_turned_upright(tmp_path: Path) -> None:
    pictures(tmp_path / "i", "RGB")
    file = tmp_path / "i" / "above" / "0.png"
    original = np.asarray(Image.open(file).convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(original[::-1, ::-1].copy()).save(file, exif=exif)
    parts = read_own(OwnSource("images", tmp_path / "i", ImagesOptions()))
    whole = [*parts.samples["train"], *parts.samples["test"]]
    assert any(np.array_equal(image, original.transpose(2, 0, 1)) for image in whole)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    x, y = vectors(30)
    source = arrays(tmp_path / "a.npz", x=x, y=y)
    first = read_own(source)
    assert read_own(source) is first
    arrays(tmp_path / "a.npz", x=np.hstack([x, x]), y=y)
    assert read_own(source).shape == (6,)


def test_labels_as_bytes_are_texts(tmp_path: Path) -> None:
    assert read_own(arrays(tmp_path / "a.npz", x=X, y=np.where(Y > 0, b"on", b"off"))).classes == ("off", "on")


def test_options_are_those_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Data of kind images must have its own options\. Got TableOptions"):
        read_own(OwnSource("images", pictures(tmp_path / "i"), TableOptions()))
    assert read_own(OwnSource("images", tmp_path / "i")).shape == (1, 6, 8)


# notes


def test_constant_features_and_repeated_samples_are_noted(tmp_path: Path) -> None:
    x, y = vectors(30)
    x[:, 1] = 7
    x[25] = x[4]
    parts = read_own(arrays(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:]))
    constant, repeated = parts.notes
    assert "constant over the training part, which carry no information: 1." in constant
    assert "1 of 10 test samples are also in the training part" in repeated


# what is refused

ANY = ImagesOptions()

X, Y = vectors(12)
ODD = X.copy()
ODD[3, 2] = np.nan


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": X}, "must hold either x and y, or x_train"),
        ({"x": X, "y": Y, "z": Y}, r"must be named .* Got 'z' instead"),
        ({"x": X, "y": Y[:5]}, r"one label per sample, shape \[12\]\. Got \[5\]"),
        ({"x": ODD, "y": Y}, r"finite number of float32\. Got nan in x of .*, row 3, feature 2,"),
        ({"x": X * 1e300, "y": Y}, r"finite number of float32\. Got "),
        ({"x": X.astype(str), "y": Y}, "must be numbers. Got values of type <U"),
        ({"x": X[:, :1], "y": Y}, r"at least 2 features\. Got 1"),
        ({"x": np.zeros(12), "y": Y}, r"Got an array of shape \[12\]"),
        ({"x": np.zeros((12, 4, 4)), "y": Y}, "pixels of type uint8, from 0 to 255. Got float64"),
        ({"x": np.zeros((12, 4, 4), np.uint16), "y": Y}, "pixels of type uint8, from 0 to 255. Got uint16"),
        ({"x": np.zeros((12, 8, 8, 3), np.uint8), "y": Y}, r"type: x\.transpose\(0, 3, 1, 2\)"),
        ({"x": X, "y": Y * 0}, "Got 1 in the data of"),
        ({"x": X, "y": Y + 0.5}, r"text or a whole number\. Got 0\.5 in .*, label 0"),
        ({"x": X, "y": np.where(np.arange(12) == 4, "rare", "often")}, "at least 2 samples, one for training"),
        ({"x": X * 0 + 1, "y": Y}, r"must differ between samples\. Got 3 constant ones"),
        ({"x": X[:0], "y": Y[:0]}, "at least one sample"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b", "b"])}, "different names of one line.* Got 'b'"),
        ({"x": X, "y": np.array(["a\nb", "c"])[Y % 2]}, r"different names of one line.* Got 'a\\nb'"),
        ({"x": np.zeros((12, 4, 4), np.uint8), "y": Y}, "images of .* must differ. Got 9 equal ones"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b"])}, r"A label must be from 0 to 1\. Got 2 in .*, label 2"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]},
            r"in the test part\. Got no sample of class '2' in the test part",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": np.hstack([X, X]), "y_test": Y},
            r"\(3,\) as in the training part\. Got \(6,\)",
        ),
    ],
)
def test_arrays_that_cannot_be_used(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_own(arrays(tmp_path / "a.npz", **content))
    assert "\n" not in str(raised.value)


def test_ragged_arrays_are_refused(tmp_path: Path) -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[1, 2], [3]]
    np.savez(tmp_path / "a.npz", x=ragged, y=np.array([0, 1]))
    with pytest.raises(DataError, match="rows of different lengths"):
        read_own(OwnSource("arrays", tmp_path / "a.npz"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_arrays_are_refused_or_read(tmp_path: Path, place: int, value: int) -> None:
    source = arrays(tmp_path / "a.npz", x=X, y=Y)
    content = bytearray(source.path.read_bytes())
    content[place % len(content)] = value
    source.path.write_bytes(content)
    try:
        read_own(source)
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (csv(), {}, r"data\.table\.label must name a column of .*: ax, ay, az, subject, state\. Got 'label'"),
        (csv(), {"label": "stat"}, "did you mean 'state'"),
        (csv(), {"label": "state"}, r"Column subject must hold numbers.* Got 's0' in .*t\.csv, row 1 instead\."),
        (csv().replace(",", ";"), {"label": "state"}, "Got one column 'ax;ay;az;subject;state' .* separator ';'"),
        ("a,b,label\n1,2,x\n\"1,5\",3,y\n", {}, r"Got '1,5' in .*row 2 instead; is the decimal mark a comma"),
        ("a,b,label\n1,2,x\n,3,y\n", {}, r"Got nan in .*row 2, feature a, instead"),
        ("a,b,label\n1,2,x\n1,3,\n", {}, r"A label must be text or a whole number\. Got none in .*row 2"),
        ("a,b,label\n1,2,1\n1,3,\n", {}, r"A label must be text or a whole number\. Got none in .*row 2"),
        ("a,b,label\n1,2,x\n1,3,4,5,y\n", {}, r"must be a CSV file\. .*line 3"),
        ("", {}, "must be a CSV file"),
        ("a,b,label\n", {}, "at least one row below its header"),
        ("a,b,label\n0,1,2,x\n0,3,4,y\n", {}, r"must have 3 fields, as its header\. Got 4 in row 1"),
        (",a,b,label\n0,1,2,x\n1,3,4,y\n", {}, r"Got column 1 without one"),
        ("a,b,g,label\n1,2,u,x\n3,4,,y\n", {"group": "g"}, r"must have a group in every row\. Got none in .*row 2"),
        ("a,a,label\n1,2,x\n3,4,y\n", {}, "Got 'a' twice"),
        ("a,b,label\n1,2,1\n3,4,2\n", {"features": ("a", "label")}, "must not be the label.* Got 'label'"),
        ("a,b,label\n1,2,x\n3,4,y\n", {"features": ("a", "a")}, "must be different columns. Got a, a"),
        ("a,label\n1,x\n2,y\n", {}, r"at least 2 columns of features\. Got 1"),
        ("a,b,p,label\n1,2,train,x\n1,3,tset,y\n", {"split": "p"}, r"Got 'tset' instead; did you mean 'test'"),
        (
            "a,b,p,g,label\n1,2,train,u,x\n1,3,test,u,y\n",
            {"split": "p", "group": "g"},
            "Got 'u' in the training part and in the test part",
        ),
        ("a,b,g,label\n1,2,u,x\n1,3,u,y\n4,2,u,x\n5,3,u,y\n", {"group": "g"}, r"at least 2 groups.*\. Got 1"),
    ],
)
def test_tables_that_cannot_be_used(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_own(table(tmp_path / "t.csv", text, **options))
    assert "\n" not in str(raised.value)


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    def refused(name: str, message: str, options: ImagesOptions = ANY) -> None:
        with pytest.raises(DataError, match=message):
            read_own(OwnSource("images", tmp_path / name, options))

    pictures(tmp_path / "sizes")
    Image.new("L", (5, 5)).save(tmp_path / "sizes" / "below" / "9.png")
    refused("sizes", r"must have 6 x 8 pixels, as .*0\.png has\. Got 5 x 5 in .*9\.png instead")
    pictures(tmp_path / "alpha")
    Image.new("RGBA", (8, 6)).save(tmp_path / "alpha" / "below" / "9.png")
    refused("alpha", r"no transparency\. Got an alpha channel in .*9\.png")
    pictures(tmp_path / "deep")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "deep" / "above" / "9.png")
    refused("deep", r"Got 16 bits per pixel in .*9\.png")
    pictures(tmp_path / "colours")
    Image.new("RGB", (8, 6), (200, 0, 0)).save(tmp_path / "colours" / "below" / "9.png")
    refused("colours", r"Got a colour image, .*9\.png, instead; for colour set data\.images\.channels to 3")
    assert read_own(OwnSource("images", tmp_path / "colours", ImagesOptions(None, 3))).shape == (3, 6, 8)
    whole = (pictures(tmp_path / "damaged") / "above" / "1.png").read_bytes()
    (tmp_path / "damaged" / "above" / "1.png").write_bytes(whole[: len(whole) // 2])
    refused("damaged", r"1\.png must be an undamaged image")
    (pictures(tmp_path / "text") / "above" / "1.png").write_text("no image")
    refused("text", r"1\.png must be an image")
    (pictures(tmp_path / "other") / "above" / "notes.md").write_text("no image")
    refused("other", r"notes\.md must be an image: \.png")
    (pictures(tmp_path / "empty") / "third").mkdir()
    refused("empty", "third must contain at least one image")
    pictures(tmp_path / "flat")
    Image.new("L", (8, 6)).save(tmp_path / "flat" / "9.png")
    refused("flat", "only folders of classes. Got the file 9.png")
    refused("nowhere", "There is no folder")


def test_a_path_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DataError, match=r"Got a file 'a\.xlsx'"):
        kind_of(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="There is no file or folder"):
        kind_of(tmp_path / "b")


# recipes and runs


def test_a_recipe_reads_shape_and_classes_once(tmp_path: Path) -> None:
    arrays(tmp_path / "a.npz", x=X, y=Y)
    (tmp_path / "r.yaml").write_text(RECIPE.format(data="kind: arrays, name: mine, path: a.npz"))
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.data.shape == (3,) and recipe.data.class_names == ("0", "1", "2")
    assert recipe.data.path == str(tmp_path / "a.npz")
    (tmp_path / "dumped.yaml").write_text(dump_recipe(recipe))
    (tmp_path / "a.npz").unlink()
    assert load_recipe(tmp_path / "dumped.yaml") == recipe
    with pytest.raises(DataError, match="There is no file"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("kind: arrays, name: mine", "data.path must name the arrays to read, got null"),
        ("name: digits, path: a.npz", "data.path must be left out for digits; it is for own data"),
        ("name: digits, table: {label: state}", "data.table must be left out for digits"),
        ("kind: arrays, name: a, path: a.npz, shape: [2, 2], class_names: [a, b]", r"data\.shape must be \[features\]"),
        ("kind: arrays, name: a, path: a.npz, shape: [2], class_names: [a, a]", "at least 2 different names"),
    ],
)
def test_sections_that_do_not_validate(data: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(data=data))
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_from_a_table_to_an_exported_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sensors.csv").write_text(csv(120))
    columns = ["--set", "data.table.label=state", "--set", "data.table.features=[ax, ay, az]"]
    assert main(["data", "describe", "sensors.csv", *columns, "--out", "mine.yaml", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["classes"] == {"idle": 32, "run": 32, "walk": 32} and found["samples"] == {"train": 96, "test": 24}
    assert main(["train", "mine.yaml", "--backend", "fixed", "--set", "readout.solver=ridge", "--out", "run"]) == 0
    accuracy = json.loads(Path("run/summary.json").read_text())["metrics"]["test_accuracy"]
    assert accuracy > 0.9
    assert main(["evaluate", "run"]) == 0
    assert main(["export", "c", "run", "--out", "c"]) == 0
    assert main(["export", "onnx", "run", "--out", "onnx"]) == 0
    assert '"idle", "run", "walk"' in next(Path("c").glob("model_*.c")).read_text()
    scaling = FinishedRun.open("run").scaling
    assert len(scaling.mean) == 3 and scaling.std[0] > 0.5
    Path("sensors.csv").write_text(csv(120, seed=1))
    with pytest.raises(DataError, match="are not those of"):
        _ = FinishedRun.open("run").dataset


def test_describe_overwrites_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arrays(tmp_path / "a.npz", x=X, y=Y)
    out = tmp_path / "r.yaml"
    assert main(["data", "describe", str(tmp_path / "a.npz"), "--out", str(out)]) == 0
    before = out.read_text()
    assert main(["data", "describe", str(tmp_path / "a.npz"), "--out", str(out)]) == 2
    assert "exists already" in capfd.readouterr().err and out.read_text() == before
    assert load_recipe(out).data.own == OwnSource("arrays", tmp_path / "a.npz", ArraysOptions())
