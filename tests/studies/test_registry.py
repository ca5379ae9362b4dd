"""Studies by name, their options, and the keys of their points, which must not change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from scff_hw.errors import UsageError
from scff_hw.studies import Request, StudyOptions, find_study, option, request_study, study_names

MakeRequest = Callable[..., Request]

@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "noise",
            {"vary": ["device.response.write_noise=0 w,0.1 w"], "backprop_rate": 0.2},
            (18, "67f9257c7a5ded2c2852", "8e43b7de53a19011fdaf", "0803746bd69ee14860b8"),
        ),
        (
            "drift",
            {"profile": "pcm"},
            (24, "98390b0861a8272f662a", "c4dbce5a162cd9b04c1f", "d2c00e32e6353e0f3c93"),
        ),
        (
            "drift",
            {"profile": "pcm", "options": {"batches": 2, "rate": 0.5}},
            (24, "98390b0861a8272f662a", "48ab00fbbd8b7540ef16", "f553694da1f331e2d95c"),
        ),
        ("faults", {}, (98, "d79e7529ea3ce7c116d2", "7f3d8e8a7d0f29ba0440", "ecd26101b19f783e27bd")),
        (
            "faults",
            {"options": {"rates": "0 %,30%"}},
            (50, "d79e7529ea3ce7c116d2", "ee36c7802177253d117f", "91985e2ffadfb2b5ebda"),
        ),
        (
            "bits",
            {"profile": None, "vary": ["fixed_point.weight_bits=8,4"]},
            (16, "1f2fbfbae76aacfc8b98", "30027eacb068198a31ae", "e85823c9c1eb233cede5"),
        ),
        (
            "controls",
            {"profile": None, "vary": ["training.batch_size=50,100"]},
            (16, "041319a28686c2b935a2", "a99f7dbfd18f06f6fc9d", "94954b0f0c7dfff35f6c"),
        ),
    ],
    ids=["noise", "drift", "drift-options", "faults", "faults-rates", "bits", "controls"],
)
def test_points_keep_their_keys_so_that_an_old_study_resumes(
    name: str, options: dict[str, Any], expected: tuple[int, str, str, str]
) -> None:
    layer = (
        "{kind: dense, units: 24, init: linear, pairs: made, "
        "learn: {epochs: 2, optimiser: sgd, learning_rate: 0.5, theta_pos: 1, theta_neg: 2, penalty: 1.0e-4}}"
    )
    changes = [f"layers=[{layer}]", "readout.layers=[1]", "readout.epochs=8"]
    arguments: dict[str, Any] = {"profile": "ecram", "overrides": changes, "seeds": 2} | options
    keys = [point.key for point in find_study(name).points(request_study(name, "digits-mlp", **arguments))]
    digest = hashlib.blake2b(" ".join(keys).encode(), digest_size=10).hexdigest()
    assert (len(keys), keys[0], keys[-1], digest) == expected


def test_every_study_has_a_name_a_title_and_options_with_units() -> None:
    assert study_names() == ["noise", "drift", "faults", "bits", "controls"]
    for name in study_names():
        study = find_study(name)
        assert (study.name, study.title.lower()) == (name, name) and study.explanation
        for field in study.Options.model_fields.values():
            assert isinstance(field.json_schema_extra, dict) and field.json_schema_extra["units"]
            assert field.description and field.default is not None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batches": 0}, "--batches must be an integer >= 1 and <= 100000. Got 0 instead."),
        ({"batches": "3"}, "--batches must be an integer >= 1 and <= 100000. Got '3' instead."),
        ({"rate": 0.0}, "--rate must be a finite number > 0 and <= 1000. Got 0.0 instead."),
        ({"rates": "1 %"}, "The options of the study drift must be --batches, --rate. Got --rates instead."),
    ],
)
def test_an_option_out_of_range_is_refused(make_request: MakeRequest, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        make_request("drift", profile="pcm", options=options)
    assert str(error.value) == sentence


def test_a_model_of_options_needs_a_unit_for_every_field() -> None:
    with pytest.raises(TypeError, match=r"Bare\.speed must be an int, a float or a str, made by option\(\)"):

        class Bare(StudyOptions):
            speed: int = 3

    with pytest.raises(TypeError, match=r"Listed\.speeds must be an int"):

        class Listed(StudyOptions):
            speeds: list[int] = option([], "speeds", unit="m/s")
