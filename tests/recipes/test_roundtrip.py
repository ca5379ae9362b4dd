"""Any recipe is unchanged by writing and reading."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scff_hw.recipes import Recipe, dump_recipe, load_recipe, parse_recipe

printable = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
lines = st.text(printable, min_size=1, max_size=40)
learns = st.fixed_dictionaries(
    {
        "epochs": st.integers(0, 100),
        "learning_rate": st.floats(0, 100, exclude_min=True),
        "theta_pos": st.floats(0, 1000),
        "theta_neg": st.integers(0, 1000),
    },
    optional={
        "weight_decay": st.floats(0, 10),
        "decay_factor": st.floats(0, 1, exclude_min=True),
        "penalty": st.floats(0, 1000),
    },
)
pools = st.none() | st.fixed_dictionaries(
    {"kind": st.sampled_from(["max", "avg"]), "size": st.integers(2, 3), "stride": st.just(1)},
    optional={"padding": st.integers(0, 1), "ceil": st.booleans()},
)
shared = {
    "init": st.sampled_from(["linear", "xavier"]),
    "transmit": st.sampled_from(["triangle", "relu"]),
    "learn": learns,
    "pairs": st.just("made"),
}
denses = st.fixed_dictionaries({"kind": st.just("dense"), "units": st.integers(2, 5000), **shared})
convolutions = st.fixed_dictionaries(
    {
        "kind": st.just("conv2d"),
        "channels": st.integers(2, 100),
        "kernel": st.integers(1, 5),
        "padding": st.integers(0, 2),
        "pool": pools,
        "readout_pool": pools,
        **shared,
    }
)
recurrents = st.fixed_dictionaries(
    {"kind": st.just("recurrent"), "units": st.integers(2, 5000), "learn": learns},
    optional={"directions": st.sampled_from([1, 2]), "output": st.sampled_from(["final", "final-and-mean"])},
)
spoken = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"name": st.just("fsdd")},
            optional={
                "mfcc": st.fixed_dictionaries({}, optional={"coefficients": st.integers(3, 128)}),
                "leave_out_speaker": lines,
            },
        ),
        "layers": st.tuples(recurrents, st.lists(denses, max_size=2)).map(lambda both: [both[0], *both[1]]),
        "augmentation": st.fixed_dictionaries(
            {}, optional={"shift_ms": st.floats(0, 1000), "noise_db": st.none() | st.floats(-20, 100)}
        ),
    }
)
of_images = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        "description": lines,
        "source": lines,
        "data": st.fixed_dictionaries(
            {"name": st.just("cifar10")},
            optional={"mean": st.lists(st.floats(-10, 10), min_size=3, max_size=3)},
        ),
        "training": st.fixed_dictionaries(
            {
                "rule": st.fixed_dictionaries(
                    {"name": lines},
                    optional={
                        "options": st.dictionaries(
                            lines,
                            st.booleans()
                            | st.integers()
                            | st.floats(allow_nan=False, allow_infinity=False)
                            | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
                        )
                    },
                )
            }
        ),
        "layers": st.tuples(st.lists(convolutions, max_size=2), st.lists(denses, min_size=1, max_size=2)).map(
            lambda both: [*both[0], *both[1]]
        ),
        "readout": st.just({"layers": [1]}),
    }
)
recipes = of_images | st.tuples(of_images, spoken).map(lambda both: both[0] | both[1])


@settings(deadline=None, max_examples=40)
@given(recipes)
def test_a_dumped_recipe_loads_back_equal(values: dict) -> None:
    recipe = Recipe.model_validate(values)
    text = dump_recipe(recipe)
    loaded = parse_recipe(text, "dumped")
    assert loaded == recipe
    assert dump_recipe(loaded) == text


@pytest.mark.parametrize("broken", ["\x85", "\u2028", "\u2029", "\n", "\r", "\ufeff"], ids=ascii)
def test_text_with_any_line_break_loads_back(broken: str) -> None:
    rule = {"name": "mine", "options": {"k": f"a{broken}b", "l": broken, f"m{broken}n": 1}}
    values = load_recipe("iris-mlp").model_dump(mode="json")
    recipe = Recipe.model_validate(values | {"training": values["training"] | {"rule": rule}})
    assert parse_recipe(dump_recipe(recipe), "dumped") == recipe


@pytest.mark.parametrize(
    "text", [":0", "?a", "?", ":", "-", "- a", "a: b", "a #b", "{a", "[a", "*a", "&a", "!a", "'", '"']
)
def test_text_that_looks_like_syntax_loads_back(text: str) -> None:
    rule = {"name": text, "options": {text: True, "value": text}}
    values = load_recipe("iris-mlp").model_dump(mode="json")
    recipe = Recipe.model_validate(values | {"training": values["training"] | {"rule": rule}})
    assert parse_recipe(dump_recipe(recipe), "dumped") == recipe


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe("iris-mlp")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]


def test_there_is_a_json_schema() -> None:
    schema = Recipe.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["LearnRecipe"]["properties"]["theta_pos"]["maximum"] == 1000
