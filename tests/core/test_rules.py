"""Rules: Hinton's pairs, and a rule that comes from outside the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from scff_hw.core import Errors, ForwardForward, LabelledForwardForward, Rule, Signals, register, rule_class
from scff_hw.core.random import generator
from scff_hw.core.rules import blurred_masks, embed_label
from scff_hw.errors import UsageError


def test_hybrids_take_every_pixel_from_one_of_two_images() -> None:
    images = torch.stack([torch.full((1, 28, 28), float(k + 1)) for k in range(6)])
    stream = ForwardForward.pairs(images, None, 10, generator(0, "ff"))
    assert torch.equal(stream.positive, images) and stream.negative is not None
    for k, hybrid in enumerate(stream.negative):
        values = hybrid.unique().tolist()
        assert len(values) == 2 and k + 1 in values


def test_masks_are_binary_balanced_and_smooth() -> None:
    masks = blurred_masks(200, 28, 28, generator(0, "masks"))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert abs(float(masks.mean()) - 0.5) < 0.03
    changes = (masks[..., 1:] != masks[..., :-1]).float().mean()
    assert changes < 0.2, "white noise would change at every second pixel"


def test_labels_are_embedded_right_for_positives_and_wrong_for_negatives() -> None:
    images, labels = torch.rand(50, 1, 6, 6), torch.arange(50) % 10
    stream = LabelledForwardForward.pairs(images, labels, 10, generator(0, "ff"))
    assert stream.negative is not None
    codes = [part.flatten(1)[:, :10] for part in (stream.positive, stream.negative)]
    assert all((code.sum(1) == 1).all() for code in codes)
    assert torch.equal(codes[0].argmax(1), labels)
    wrong = codes[1].argmax(1)
    assert (wrong != labels).all() and len(wrong.unique()) == 10
    for part in (stream.positive, stream.negative):
        assert torch.equal(part.flatten(1)[:, 10:], images.flatten(1)[:, 10:])
    neutral = LabelledForwardForward.plain(images, 10).flatten(1)
    assert torch.equal(neutral[:, :10], torch.full((50, 10), 0.1))


def test_supervised_forward_forward_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"needs labels. Got an unlabelled data set instead"):
        LabelledForwardForward.pairs(torch.rand(4, 1, 6, 6), None, 10, generator(0, "ff"))
    with pytest.raises(UsageError, match=r"more than 10 values. Got 4 instead"):
        embed_label(torch.rand(2, 4), torch.eye(10)[:2])
    with pytest.raises(UsageError, match=r"needs images .* Got shape \[3, 4\]"):
        ForwardForward.pairs(torch.rand(3, 4), None, 10, generator(0, "ff"))


def test_a_rule_from_outside_is_registered_once_and_found_by_name() -> None:
    @register
    @dataclass(frozen=True)
    class Hebb(Rule):
        name: ClassVar[str] = "hebb-for-this-test"

        def errors(self, signals: Signals) -> Errors:
            y = torch.relu(signals.positive)
            zero = torch.zeros(())
            return Errors(-y, torch.zeros_like(y), y.square().mean(), zero, zero)

    assert rule_class("hebb-for-this-test") is Hebb
    with pytest.raises(UsageError, match=r"already registered"):

        @register
        class Impostor(Hebb):
            pass

    with pytest.raises(UsageError, match=r"Got 'scfff' instead; did you mean 'scff'"):
        rule_class("scfff")
