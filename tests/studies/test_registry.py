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
            (18, "6266b21953a5b514e28e", "0b33e5c09a767072d7bc", "b5356dbe048d3c42e8f4"),
        ),
        (
            "drift",
            {"profile": "pcm"},
            (24, "0708f55227f73f01d6de", "01af8e4557f9ba66b616", "6121e03c0bd7d452cdad"),
        ),
        (
            "drift",
            {"profile": "pcm", "options": {"batches": 2, "rate": 0.5}},
            (24, "0708f55227f73f01d6de", "62a42604df0110f56663", "fa8c4b96192be144cbf3"),
        ),
        ("faults", {}, (98, "53bdbf98acaa95309ee7", "dd0c24ba8b5bc03fb36f", "41858a76711e81ff03e0")),
        (
            "faults",
            {"options": {"rates": "0 %,30%"}},
            (50, "53bdbf98acaa95309ee7", "15989c9c3d076e96afff", "10f1f3fed79996626b32"),
        ),
        (
            "bits",
            {"profile": None, "vary": ["fixed_point.weight_bits=8,4"]},
            (16, "34838f332788ad12d374", "531266579634201bbb8e", "3132be67fdcddd6a1212"),
        ),
        (
            "controls",
            {"profile": None, "vary": ["training.batch_size=50,100"]},
            (20, "f3ea831acc9b9c2c7761", "a7c2b27da8dcabe05a62", "8504a6c4195fa7df7eb0"),
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
    changes = [f"layers=[{layer}]", "readout.layers=[1]", "readout.solver=ridge"]
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
