"""Catalogue entries (`Info`) of the data sets of scff-hw; reader modules are imported at first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

from scff_hw.data.catalogue import Info


def _late(path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    return lambda *arguments: attrgetter(attribute)(import_module(f"scff_hw.data.{module}"))(*arguments)


DIGITS = Info(
    "digits",
    "1 797 handwritten digits, 8 x 8 pixels, 10 classes (1 437 train, 360 test)",
    "CC BY 4.0 (UCI Machine Learning Repository)",
    "scikit-learn; Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998",
    0,
    input_shape=(1, 8, 8),
    classes=10,
    load=lambda root: _late("scikit_learn:load_digits")(),
    comes_with="scikit-learn",
)

IRIS = Info(
    "iris",
    "150 flowers, 4 measurements in centimetres, 3 classes (120 train, 30 test)",
    "CC BY 4.0 (UCI Machine Learning Repository)",
    "scikit-learn; Fisher, The use of multiple measurements in taxonomic problems, 1936",
    0,
    input_shape=(4,),
    classes=3,
    load=lambda root: _late("scikit_learn:load_iris")(),
    comes_with="scikit-learn",
)

MNIST = Info(
    "mnist",
    "70 000 handwritten digits, 28 x 28 pixels, 10 classes (60 000 train, 10 000 test)",
    "none stated by the publisher; often quoted as CC BY-SA 3.0",
    "LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist",
    11_594_722,
    input_shape=(1, 28, 28),
    classes=10,
    load=_late("idx:MNIST.load"),
    verify=_late("idx:MNIST.verify"),
    folder="MNIST/raw",
)

FASHION_MNIST = Info(
    "fashion-mnist",
    "70 000 pictures of clothes, 28 x 28 pixels, 10 classes (60 000 train, 10 000 test)",
    "MIT",
    "Xiao, Rasul and Vollgraf, https://github.com/zalandoresearch/fashion-mnist",
    30_878_645,
    input_shape=(1, 28, 28),
    classes=10,
    load=_late("idx:FASHION_MNIST.load"),
    verify=_late("idx:FASHION_MNIST.verify"),
    folder="FashionMNIST/raw",
)

KMNIST = Info(
    "kmnist",
    "70 000 handwritten hiragana, 28 x 28 pixels, 10 classes (60 000 train, 10 000 test)",
    "CC BY-SA 4.0",
    "Clanuwat and others, Deep Learning for Classical Japanese Literature, 2018, https://codh.rois.ac.jp/kmnist",
    21_240_888,
    input_shape=(1, 28, 28),
    classes=10,
    load=_late("idx:KMNIST.load"),
    verify=_late("idx:KMNIST.verify"),
    folder="KMNIST/raw",
)

CIFAR10 = Info(
    "cifar10",
    "60 000 colour photographs, 32 x 32 pixels, 10 classes (50 000 train, 10 000 test)",
    "none stated by the publisher, who asks for a citation of the report",
    "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    170_052_171,
    input_shape=(3, 32, 32),
    classes=10,
    load=_late("cifar:load"),
    verify=_late("cifar:verify"),
    folder="cifar-10-batches-bin",
)

STL10 = Info(
    "stl10",
    "113 000 colour photographs, 96 x 96 pixels, 10 classes (5 000 train, 8 000 test, "
    "100 000 unlabelled)",
    "none stated by the publisher; the images come from ImageNet",
    "Coates, Lee and Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011, "
    "https://cs.stanford.edu/~acoates/stl10",
    2_640_397_119,
    input_shape=(3, 96, 96),
    classes=10,
    load=_late("stl:load"),
    verify=_late("stl:verify"),
    folder="stl10_binary",
    unlabelled=True,
)

FSDD = Info(
    "fsdd",
    "3 000 recordings of spoken digits, 8 kHz, 6 speakers, 10 classes (2 700 train, 300 test)",
    "CC BY-SA 4.0",
    "Jackson and others, Free Spoken Digit Dataset v1.0.10, "
    "https://github.com/Jakobovski/free-spoken-digit-dataset",
    16_000_000,
    classes=10,
    verify=_late("fsdd:verify"),
    folder="free-spoken-digit-dataset/recordings",
)
