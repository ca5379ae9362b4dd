import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scff_hw.data import Augmentation
from scff_hw.errors import UsageError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Reference: the image [C, H, W] shifted by whole pixels with zero fill, pixel by pixel."""
    _, height, width = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            from_row, from_column = row - down, column - right
            if 0 <= from_row < height and 0 <= from_column < width:
                result[:, row, column] = image[:, from_row, from_column]
    return result


def find_shift(image: np.ndarray, moved: np.ndarray, reach: int) -> tuple[int, int] | None:
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if np.array_equal(shifted(image, down, right), moved):
                return down, right
    return None


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)),
    data=st.data(),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.bfloat16, torch.int16]),
    seed=st.integers(0, 2**32),
    key=st.sampled_from(["translate_px", "crop_padding_px"]),
)
def test_every_image_is_a_translation_of_itself(shape, data, dtype, seed, key) -> None:
    reach = data.draw(st.integers(1, min(shape[2:]) - 1))
    count = int(np.prod(shape))
    images = (torch.arange(count).view(shape) % 150 + 1).to(dtype)
    moved = Augmentation(**{key: reach})(images, seeded(seed))
    assert moved.shape == images.shape and moved.dtype == dtype
    for before, after in zip(images, moved, strict=True):
        assert find_shift(before.float().numpy(), after.float().numpy(), reach) is not None


def test_all_translations_occur_equally_often() -> None:
    images = torch.arange(1, 50, dtype=torch.uint8).view(1, 1, 7, 7).expand(5000, 1, 7, 7)
    moved = Augmentation(translate_px=2)(images, seeded(0))
    # The centre pixel tells the shift: 25 possible values, 200 expected each, sd 13.9.
    counts = moved[:, 0, 3, 3].long().bincount(minlength=50)
    occurring = counts[counts > 0]
    assert len(occurring) == 25
    assert occurring.min() > 200 - 5 * 13.9 and occurring.max() < 200 + 5 * 13.9


def test_a_flip_mirrors_half_of_the_images() -> None:
    images = torch.randint(0, 256, (2000, 3, 4, 5), dtype=torch.uint8, generator=seeded(5))
    flipped = Augmentation(flip=True)(images, seeded(0))
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == torch.from_numpy(images.numpy()[:, :, :, ::-1].copy())).flatten(1).all(1)
    assert bool((same | mirrored).all())
    # 1000 expected, sd 22.4
    assert abs(int(mirrored.sum()) - 1000) < 5 * 22.4


def test_translation_crop_and_flip_together_keep_one_order() -> None:
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=seeded(1))
    together = Augmentation(translate_px=2, crop_padding_px=1, flip=True)(images, seeded(9))
    generator = seeded(9)
    for step in (Augmentation(translate_px=2), Augmentation(crop_padding_px=1), Augmentation(flip=True)):
        images = step(images, generator)
    assert torch.equal(together, images)


def test_the_generator_alone_decides() -> None:
    images = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=seeded(1))
    augmentation = Augmentation(translate_px=2, flip=True)
    torch.manual_seed(1)
    first = augmentation(images, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, augmentation(images, seeded(3)))
    assert not torch.equal(first, augmentation(images, seeded(4)))


def test_the_memory_format_and_the_input_do_not_matter() -> None:
    images = torch.randint(0, 256, (6, 3, 8, 9), dtype=torch.uint8, generator=seeded(1))
    before = images.clone()
    augmentation = Augmentation(translate_px=3, flip=True)
    first = augmentation(images, seeded(3))
    assert torch.equal(images, before)
    other = augmentation(images.to(memory_format=torch.channels_last), seeded(3))
    assert torch.equal(first, other)


def test_nothing_asked_nothing_done() -> None:
    generator = seeded(0)
    state = generator.get_state()
    features = torch.ones(3, 4)
    assert Augmentation()(features, generator) is features
    assert torch.equal(state, generator.get_state())


@pytest.mark.parametrize("value", [-1, 1.5, "2"])
def test_pixels_are_whole_numbers_from_zero(value) -> None:
    with pytest.raises(UsageError, match="translate_px must be a whole number from 0 up; got"):
        Augmentation(translate_px=value)


def test_a_translation_as_large_as_the_image_and_features_are_refused() -> None:
    with pytest.raises(
        UsageError, match="crop_padding_px must be smaller than the image of 8 x 6 pixels; got 6"
    ):
        Augmentation(crop_padding_px=6)(torch.ones(2, 1, 8, 6), seeded(0))
    with pytest.raises(UsageError, match=r"needs images \[N, C, H, W\]; got a tensor of shape \[3, 4\]"):
        Augmentation(flip=True)(torch.ones(3, 4), seeded(0))


def blobs(height: int, width: int, down: float, right: float, wide: float = 2.0) -> torch.Tensor:
    """One image [1, 1, H, W]: a round spot of width `wide`, `down` and `right` of the centre."""
    rows = torch.arange(height) - (height - 1) / 2 - down
    columns = torch.arange(width) - (width - 1) / 2 - right
    return torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * wide**2)).view(1, 1, height, width)


def moments(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of images [N, 1, H, W]: the centre of mass from the middle (down, right), and the spread along both axes."""
    _, _, height, width = images.shape
    mass = images[:, 0].double() / images.double().sum((1, 2, 3))[:, None, None]
    rows = torch.arange(height) - (height - 1) / 2
    columns = torch.arange(width) - (width - 1) / 2
    down, right = (mass * rows[:, None]).sum((1, 2)), (mass * columns).sum((1, 2))
    tall = (mass * (rows[:, None] - down[:, None, None]) ** 2).sum((1, 2)).sqrt()
    broad = (mass * (columns - right[:, None, None]) ** 2).sum((1, 2)).sqrt()
    return down, right, tall, broad


def test_rotation_turns_about_the_centre_by_up_to_its_angle() -> None:
    images = blobs(36, 60, down=0, right=10).expand(400, -1, -1, -1)
    down, right, tall, broad = moments(Augmentation(rotate_deg=30)(images, seeded(0)))
    assert ((down**2 + right**2).sqrt() - 10).abs().max() < 0.05
    angle = torch.atan2(down, right).rad2deg()
    assert 28 < angle.max() <= 30.5 and -30.5 <= angle.min() < -28
    assert abs(angle.mean()) < 3
    assert (tall - 2).abs().max() < 0.1 and (broad - 2).abs().max() < 0.1


def test_stretch_moves_and_widens_each_axis_by_its_own_factor() -> None:
    images = blobs(60, 44, down=10, right=-6).expand(400, -1, -1, -1)
    down, right, tall, broad = moments(Augmentation(stretch=0.2)(images, seeded(1)))
    for moved, spread, at in ((down, tall, 10), (right, broad, -6)):
        factor = moved / at
        assert 1.17 < factor.max() <= 1.205 and 0.795 <= factor.min() < 0.83
        assert (spread / 2 - factor).abs().max() < 0.06
    assert torch.corrcoef(torch.stack([down, right]))[0, 1].abs() < 0.2


def test_a_turned_image_keeps_its_type_and_its_range() -> None:
    images = torch.randint(256, (50, 3, 9, 7), generator=seeded(2), dtype=torch.uint8)
    turned = Augmentation(rotate_deg=20, stretch=0.1)(images, seeded(3))
    assert turned.dtype == torch.uint8 and turned.shape == images.shape
    exact = Augmentation(rotate_deg=20, stretch=0.1)(images.float(), seeded(3))
    assert (turned.float() - exact).abs().max() <= 0.5
    assert Augmentation(rotate_deg=20)(images[:0], seeded(0)).shape == (0, 3, 9, 7)


@pytest.mark.parametrize("wrong", [{"rotate_deg": 181}, {"rotate_deg": float("nan")}, {"stretch": 1.0}])
def test_angles_and_stretches_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match=r"augmentation's (rotate_deg|stretch) must be in 0\.\.(180|0\.9); got"):
        Augmentation(**wrong)
