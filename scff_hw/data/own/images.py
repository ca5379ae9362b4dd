"""Reader of own images: a folder with one folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scff_hw.data.own.parts import Array, Parts, split_rows
from scff_hw.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from scff_hw.data.own.options import ImagesOptions

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
PART_FOLDERS = ("train", "test", "unlabelled")
GREY = ("1", "L")
COLOUR = ("RGB", "P", "CMYK", "YCbCr")


def read_images(path: Path, options: ImagesOptions, share: float, seed: int) -> Parts:
    """Read the images `path/CLASS/FILE`, or `path/train/CLASS/FILE` and `path/test/CLASS/FILE`, as uint8.

    Images without folders train and test are split: a test `share` (0..1) of each class, drawn with `seed`. Beside
    those folders, `path/unlabelled` may contain further images. EXIF orientation is applied; hidden files are ignored.

    Raises:
        DataError: a folder is empty, a file is damaged or not an image, or an image has a size or colour mode that is
            not allowed.
    """
    if not path.is_dir():
        raise DataError(f"There is no folder {path}.")
    folders = [entry.name for entry in _entries(path)]
    parted = {"train", "test"} <= set(folders)
    parts = [name for name in PART_FOLDERS if name in folders] if parted else [""]
    files: dict[str, list[tuple[Path, str]]] = {}
    for part in parts:
        if part == "unlabelled":
            files[part] = [(file, "") for file in _files(path / part)]
        else:
            folder = path / part
            files[part] = [(file, entry.name) for entry in _entries(folder) for file in _files(entry)]
    classes = tuple(sorted({name for part, known in files.items() if part != "unlabelled" for _, name in known}))
    if len(classes) < 2:
        raise DataError(f"{path} must have a folder for each of at least 2 classes. Got {len(classes)} instead.")
    reader = _Reader(options)
    samples = {part: reader.read([file for file, _ in known]) for part, known in files.items()}
    labels = {
        part: np.array([classes.index(name) for _, name in known], dtype=np.int64)
        for part, known in files.items()
        if part != "unlabelled"
    }
    if parted:
        return Parts(samples, labels, classes)
    test = split_rows(labels[""], None, share, seed, str(path))
    whole = samples[""]
    return Parts(
        {"train": whole[~test], "test": whole[test]}, {"train": labels[""][~test], "test": labels[""][test]}, classes
    )


class _Reader:
    """Reader of images with equal size and number of channels: those of the options, else those of the first image."""

    def __init__(self, options: ImagesOptions) -> None:
        self._size, self._channels, self._resize = options.size, options.channels, options.size is not None
        self._first: Path | None = None

    def read(self, files: list[Path]) -> Array:
        """Read image files into one array, uint8 `[N, C, H, W]`."""
        images = [self._image(file) for file in files]
        return np.stack(images)

    def _image(self, file: Path) -> Array:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(file) as opened:
                self._check_mode(file, opened)
                image = ImageOps.exif_transpose(opened)
                image.load()
        except UnidentifiedImageError:
            raise DataError(f"{file} must be an image. It is not one that Pillow can read.") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} must be an undamaged image. It cannot be read: {error}.") from None
        if self._channels is None:
            self._channels = 1 if opened.mode in GREY else 3
        if self._channels == 1 and image.mode not in GREY:
            raise DataError(
                f"All images must be grey, as {self._first or file} is. Got a colour image, {file}, instead; "
                "for colour set data.images.channels to 3."
            )
        image = image.convert("L" if self._channels == 1 else "RGB")
        if self._resize:
            assert self._size is not None
            image = ImageOps.fit(image, (self._size[1], self._size[0]))
        size = (image.height, image.width)
        if self._size is None:
            self._size = size
        if size != self._size:
            raise DataError(
                f"All images must have {self._size[0]} x {self._size[1]} pixels, as {self._first} has. "
                f"Got {size[0]} x {size[1]} in {file} instead; data.images.size resizes and crops them."
            )
        self._first = self._first or file
        pixels = np.asarray(image)
        return pixels[None] if self._channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    @staticmethod
    def _check_mode(file: Path, image: Image) -> None:
        if image.mode in GREY or (image.mode in COLOUR and "transparency" not in image.info):
            return
        reason = {
            "I;16": "16 bits per pixel",
            "I;16B": "16 bits per pixel",
            "I": "32 bits per pixel",
            "F": "floating-point pixels",
        }
        found = reason.get(
            image.mode,
            "an alpha channel" if "A" in image.mode or "transparency" in image.info else f"mode {image.mode}",
        )
        raise DataError(
            f"Images must have 8 bits per channel and no transparency. Got {found} in {file} instead; convert it first."
        )


def _entries(folder: Path) -> list[Path]:
    """Return the class folders in `folder`, sorted by name; raise DataError for a file."""
    found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for entry in found:
        if not entry.is_dir():
            raise DataError(
                f"The folder {folder} must contain only folders of classes. Got the file {entry.name} instead."
            )
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Iterate over the image files of a folder, sorted by name; raise DataError for other files."""
    found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "Thumbs.db")
    if not found:
        raise DataError(f"The folder {folder} must contain at least one image. Got none instead.")
    for entry in found:
        if entry.suffix.lower() not in SUFFIXES or not entry.is_file():
            raise DataError(f"{entry} must be an image: {', '.join(SUFFIXES)}.")
        yield entry
