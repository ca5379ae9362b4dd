"""What data sets there are: description, licence, source and size."""

from __future__ import annotations

from dataclasses import dataclass

from scff_hw.errors import UsageError, nearest


@dataclass(frozen=True)
class Info:
    """One data set; `download_bytes` is 0 for one that comes with scikit-learn."""

    name: str
    description: str
    licence: str
    source: str
    download_bytes: int

    @property
    def bundled(self) -> bool:
        """Whether the data set needs no download."""
        return self.download_bytes == 0


_ALL = (
    Info(
        "digits",
        "1 797 handwritten digits, 8 x 8 pixels, 10 classes (1 437 train, 360 test)",
        "CC BY 4.0 (UCI Machine Learning Repository)",
        "scikit-learn; Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998",
        0,
    ),
    Info(
        "iris",
        "150 flowers, 4 measurements in centimetres, 3 classes (120 train, 30 test)",
        "CC BY 4.0 (UCI Machine Learning Repository)",
        "scikit-learn; Fisher, The use of multiple measurements in taxonomic problems, 1936",
        0,
    ),
    Info(
        "mnist",
        "70 000 handwritten digits, 28 x 28 pixels, 10 classes (60 000 train, 10 000 test)",
        "none stated by the publisher; often quoted as CC BY-SA 3.0",
        "LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist",
        11_594_722,
    ),
    Info(
        "cifar10",
        "60 000 colour photographs, 32 x 32 pixels, 10 classes (50 000 train, 10 000 test)",
        "none stated by the publisher, who asks for a citation of the report",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        170_052_171,
    ),
    Info(
        "stl10",
        "113 000 colour photographs, 96 x 96 pixels, 10 classes (5 000 train, 8 000 test, "
        "100 000 unlabelled)",
        "none stated by the publisher; the images come from ImageNet",
        "Coates, Lee and Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011, "
        "https://cs.stanford.edu/~acoates/stl10",
        2_640_397_119,
    ),
    Info(
        "fsdd",
        "3 000 recordings of spoken digits, 8 kHz, 6 speakers, 10 classes (2 700 train, 300 test)",
        "CC BY-SA 4.0",
        "Jackson and others, Free Spoken Digit Dataset v1.0.10, "
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        16_000_000,
    ),
)

NAMES: tuple[str, ...] = tuple(entry.name for entry in _ALL)


def info(name: str) -> Info:
    """Return the entry of data set `name`; raises UsageError, with the nearest name, if there is none."""
    for entry in _ALL:
        if entry.name == name:
            return entry
    raise UsageError(
        f"There is no data set '{name}'; the data sets are {', '.join(NAMES)}{nearest(name, NAMES, '.')}"
    )
