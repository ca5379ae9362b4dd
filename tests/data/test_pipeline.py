import numpy as np
import pytest
import torch

from scff_hw.data import Augmentation, Dataset, Pipeline, Split, load
from scff_hw.errors import UsageError


def pictures() -> Dataset:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=random)
    train, test = Split(images[:30], torch.arange(30)), Split(images[30:], torch.arange(10))
    return Dataset("pictures", ("only",), train, test)


def test_a_batch_is_scaled_then_standardised_by_channel() -> None:
    dataset = pictures()
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    pipeline = Pipeline(dataset, "test", mean=mean, std=std)
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
    one = Pipeline(dataset, mean=(0.5,), std=(0.25,))
    three = Pipeline(dataset, mean=(0.5,) * 3, std=(0.25,) * 3)
    indices = torch.arange(30)
    assert torch.equal(one.batch(indices), three.batch(indices))


def test_augmentation_comes_before_normalisation_so_that_zero_fill_is_black() -> None:
    white = Split(torch.full((8, 1, 6, 6), 255, dtype=torch.uint8), None)
    pipeline = Pipeline(Dataset("white", ("only",), white, white), mean=(0.5,), std=(0.5,))
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
    features[:, 1] = 7.0
    split = Split(features, None)
    batch = Pipeline(Dataset("constant", (), split, split)).batch(torch.arange(20))
    assert torch.equal(batch[:, 1], torch.zeros(20))


def test_an_order_is_a_permutation_that_the_generator_decides() -> None:
    pipeline = Pipeline(pictures())
    first = pipeline.order(torch.Generator().manual_seed(2))
    assert sorted(first.tolist()) == list(range(30))
    assert torch.equal(first, pipeline.order(torch.Generator().manual_seed(2)))
    assert not torch.equal(first, pipeline.order(torch.Generator().manual_seed(3)))


def test_wrong_use_is_refused() -> None:
    dataset = pictures()
    with pytest.raises(UsageError, match="mean of pictures must have 1 or 3 values; got 2"):
        Pipeline(dataset, mean=(0.1, 0.2))
    with pytest.raises(UsageError, match=r"std of pictures must be positive; got \[0.0\]"):
        Pipeline(dataset, std=(0.0,))
    with pytest.raises(UsageError, match="no part 'validation'; it has: train, test"):
        Pipeline(dataset, "validation")
    with pytest.raises(UsageError, match=r"needs a torch\.Generator; got None"):
        Pipeline(dataset).batch(torch.arange(2), Augmentation(flip=True))
    with pytest.raises(UsageError, match="needs images"):
        generator = torch.Generator().manual_seed(0)
        Pipeline(load("iris")).batch(torch.arange(2), Augmentation(flip=True), generator)
