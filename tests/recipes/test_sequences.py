"""Recipes on sequences: valid combinations with a recurrent layer, and errors in one sentence."""

from __future__ import annotations

import pytest

from scff_hw.errors import RecipeError
from scff_hw.recipes import load_recipe


def test_shapes_are_those_of_frames_and_states() -> None:
    (shapes,) = load_recipe("fsdd-birnn").shapes
    assert shapes.input == (39,) and shapes.output == shapes.features == (1000,)
    assert load_recipe("fsdd-birnn-best").readout_features == 2000
    one = load_recipe("fsdd-birnn", ["layers.1.directions=1", "data.mfcc.coefficients=13"])
    assert one.shapes[0].input == (12,) and one.readout_features == 500


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("mnist-500", ["data.name=fsdd"], "layers.1.kind must be recurrent for fsdd, whose samples are sequences"),
        ("fsdd-birnn", ["data.name=mnist"], "layers.1.kind must be dense or conv2d for mnist, which has no sequences"),
        ("mnist-500", ["augmentation.shift_ms=10"], "augmentation must leave shift_ms, gain_db and noise_db out"),
        ("fsdd-birnn", ["augmentation.flip=true"], "augmentation must be all zero and false for fsdd"),
        ("fsdd-birnn", ["augmentation.two_views=true"], "augmentation.two_views must be false for fsdd"),
        ("mnist-500", ["data.leave_out_speaker=theo"], "data.leave_out_speaker must be left out for mnist"),
        ("mnist-500", ["data.mfcc.mels=64"], "data.mfcc must be left out for mnist, which has no recordings"),
        ("fsdd-birnn", ["data.mfcc.coefficients=200"], "data.mfcc.coefficients must be at most mels, 128, got 200"),
        ("fsdd-birnn", ["data.mfcc.hop_samples=500"], "data.mfcc.hop_samples must be at most window_samples, 400"),
        ("fsdd-birnn", ["data.shrink=2"], "data.shrink must be 1 for fsdd, got 2"),
        ("fsdd-birnn", ["layers.1.directions=3"], "layers.1.directions must be one of 1, 2, got 3"),
        ("fsdd-birnn", ["augmentation.noise_db=-30"], "augmentation.noise_db must be"),
    ],
)
def test_what_does_not_go_together_is_named(recipe: str, changes: list[str], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, changes)
    assert sentence in str(caught.value)
