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
            (18, "d3d5e613d8f109cb8598", "a6965b791690950b2baa", "03b4e4bf9479dcbc258f"),
        ),
        (
            "drift",
            {"profile": "pcm"},
            (24, "c6895bdfb5d3e3c63435", "15c8f3855d51b4700e7d", "ca37df583ccc3b2494f2"),
        ),
        (
            "drift",
            {"profile": "pcm", "options": {"batches": 2, "rate": 0.5}},
            (24, "c6895bdfb5d3e3c63435", "eb8e62799486e65d119a", "d21821e9ab85608af905"),
        ),
        ("faults", {}, (98, "aea3ad0d4e99e809a4d3", "e3762c1008bda0bc5d76", "5f9b3f23e95fae7a593d")),
        (
            "faults",
            {"options": {"rates": "0 %,30%"}},
            (50, "aea3ad0d4e99e809a4d3", "b404c22b3be8e0ed0e65", "a4009b006ea0bbcea073"),
        ),
        (
            "bits",
            {"profile": None, "vary": ["fixed_point.weight_bits=8,4"]},
            (16, "a66f68250c640fc41b4e", "fdf35665e72097384a65", "e4540014307f8147771b"),
        ),
        (
            "controls",
            {"profile": None, "vary": ["training.batch_size=50,100"]},
            (20, "8945b9baf93ba22901f8", "cab27cbbc7966d7ea56e", "97b08d0d54291dc89212"),
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
