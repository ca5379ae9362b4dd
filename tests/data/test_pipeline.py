import numpy as np
import pytest
import torch

from scff_hw.data import Augmentation, Dataset, Pipeline, Split, fit_scaling, load
from scff_hw.errors import UsageError


def pictures() -> Dataset:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=random)
    train, test = Split(images[:30], torch.arange(30)), Split(images[30:], torch.arange(10))
    return Dataset("pictures", ("only",), train, test)


def test_a_batch_is_scaled_then_standardised_by_channel() -> None:
    dataset = pictures()
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    pipeline = Pipeline(dataset, "test", fit_scaling(dataset, mean, std))
    indices = torch.tensor([3, 3, 9, 0])
    pixels = dataset.test.images.numpy()[indices.numpy()].astype(np.float64) / 255
    expected = (pixels - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    batch = pipeline.batch(indices)
    assert batch.dtype == torch.float32 and batch.shape == (4, 3, 6, 5)
    assert np.allclose(batch.numpy(), expected, atol=1e-6)
    assert pipeline.labels is not None and pipeline.labels[indices].tolist() == [3, 3, 9, 0]
    assert len(pipeline) == 10


def test_one_value_serves_all_channels() -> None:
    dataset = pictures()
    one = Pipeline(dataset, scaling=fit_scaling(dataset, (0.5,), (0.25,)))
    three = Pipeline(dataset, scaling=fit_scaling(dataset, (0.5,) * 3, (0.25,) * 3))
    indices = torch.arange(30)
    assert torch.equal(one.batch(indices), three.batch(indices))


def test_augmentation_comes_before_normalisation_so_that_zero_fill_is_black() -> None:
    white = Split(torch.full((8, 1, 6, 6), 255, dtype=torch.uint8), None)
    dataset = Dataset("white", ("only",), white, white)
    pipeline = Pipeline(dataset, scaling=fit_scaling(dataset, (0.5,), (0.5,)))
    generator = torch.Generator().manual_seed(1)
    batch = pipeline.batch(torch.arange(8), Augmentation(translate_px=2), generator)
    assert set(batch.unique().tolist()) == {-1.0, 1.0}


def test_a_batch_may_be_changed_without_touching_the_data() -> None:
    for dataset in (pictures(), load("iris")):
        pipeline = Pipeline(dataset)
        first = pipeline.batch(torch.arange(5))
        pipeline.batch(torch.arange(5)).zero_()
        assert torch.equal(first, pipeline.batch(torch.arange(5)))


def test_features_are_standardised_by_the_training_part() -> None:
    dataset = load("iris")
    train, test = dataset.train.images.numpy().astype(np.float64), dataset.test.images.numpy()
    mean, std = train.mean(0), train.std(0, ddof=1)
    batch = Pipeline(dataset, "train").batch(torch.arange(120)).numpy()
    assert np.allclose(batch, (train - mean) / std, atol=1e-5)
    batch = Pipeline(dataset, "test").batch(torch.arange(30)).numpy()
    assert np.allclose(batch, (test - mean) / std, atol=1e-5)


def test_a_feature_that_never_changes_becomes_zero() -> None:
    features = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    features[:, 1] = 7.1  # the float64 mean of 20 such values differs from it
    split = Split(features, None)
    batch = Pipeline(Dataset("constant", (), split, split)).batch(torch.arange(20))
    assert batch[:, 1].abs().max() < 1e-6


def test_channels_of_images_are_scaled_over_the_training_part() -> None:
    dataset = pictures()
    pipeline = Pipeline(dataset, "train", fit_scaling(dataset, (0.5,), (2.0,), per_feature=True))
    pixels = dataset.train.images.numpy().astype(np.float64)
    mean, std = pixels.mean((0, 2, 3), keepdims=True), pixels.std((0, 2, 3), ddof=1, keepdims=True)
    assert np.allclose(pipeline.batch(torch.arange(30)).numpy(), ((pixels - mean) / std - 0.5) / 2, atol=1e-5)


def test_plain_features_can_stay_in_their_units() -> None:
    dataset = load("iris")
    batch = Pipeline(dataset, "test", fit_scaling(dataset, per_feature=False)).batch(torch.arange(30))
    assert torch.equal(batch, dataset.test.images)


def test_an_order_is_a_permutation_that_the_generator_decides() -> None:
    pipeline = Pipeline(pictures())
    first = pipeline.order(torch.Generator().manual_seed(2))
    assert sorted(first.tolist()) == list(range(30))
    assert torch.equal(first, pipeline.order(torch.Generator().manual_seed(2)))
    assert not torch.equal(first, pipeline.order(torch.Generator().manual_seed(3)))


def test_wrong_use_is_refused() -> None:
    dataset = pictures()
    with pytest.raises(UsageError, match="mean of pictures must have 1 or 3 values; got 2"):
        fit_scaling(dataset, mean=(0.1, 0.2))
    with pytest.raises(UsageError, match=r"std of pictures must be positive; got \[0.0\]"):
        fit_scaling(dataset, std=(0.0,))
    with pytest.raises(UsageError, match="no part 'validation'; it has: train, test"):
        Pipeline(dataset, "validation")
    with pytest.raises(UsageError, match=r"needs a torch\.Generator; got None"):
        Pipeline(dataset).batch(torch.arange(2), Augmentation(flip=True))
    with pytest.raises(UsageError, match="needs images"):
        generator = torch.Generator().manual_seed(0)
        Pipeline(load("iris")).batch(torch.arange(2), Augmentation(flip=True), generator)
