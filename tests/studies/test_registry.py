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
            (18, "12ab199af89607a8a9df", "059ec45643372ee0110a", "aad5c27c1817b0569a07"),
        ),
        (
            "drift",
            {"profile": "pcm"},
            (24, "d77e397a31f4d3787cc3", "962f18ce698bd0fe357b", "b5f1693b23925045c8ba"),
        ),
        (
            "drift",
            {"profile": "pcm", "options": {"batches": 2, "rate": 0.5}},
            (24, "d77e397a31f4d3787cc3", "91a33d9cff9634fae16f", "2913a4cac2e9d62c3ddf"),
        ),
        ("faults", {}, (98, "8ba23caaae1cc7cc1c94", "20da8c0db3c164092d74", "cb6235ea95cc6e910162")),
        (
            "faults",
            {"options": {"rates": "0 %,30%"}},
            (50, "8ba23caaae1cc7cc1c94", "134a02e8e31ff5596951", "9467943796abbac2540c"),
        ),
        (
            "bits",
            {"profile": None, "vary": ["fixed_point.weight_bits=8,4"]},
            (16, "875f20fec4beccd17d78", "9caa85391719cba340a7", "85f4969035adaab7d734"),
        ),
        (
            "controls",
            {"profile": None, "vary": ["training.batch_size=50,100"]},
            (20, "86b85c79a3134ab8135f", "bf0f201122f0553228dd", "d9ca6e7d5b83932f4a57"),
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
