"""Data sets: download, reading, augmentation and batches.

dataset = load("mnist")                       # uint8 tensors and int64 labels
pipeline = Pipeline(dataset, "train", mean=(0.0,), std=(1.0,))
generator = torch.Generator().manual_seed(0)
order = pipeline.order(generator)
x = pipeline.batch(order[:100], Augmentation(translate_px=2), generator)   # float32 [100, 1, 28, 28]

spoken = load_sequences(mfcc=Mfcc(coefficients=40))   # float32 [3000, T, 39] with lengths; needs torchaudio
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scff_hw.data._catalogue import DATASETS, Info, dataset_names, info

if TYPE_CHECKING:
    from scff_hw.data._audio import Mfcc
    from scff_hw.data._audio_augment import AudioAugmentation
    from scff_hw.data._augment import Augmentation
    from scff_hw.data._datasets import hold_out, load, load_fsdd, shrink, verify
    from scff_hw.data._fetch import fetch
    from scff_hw.data._files import Verified, data_root
    from scff_hw.data._pipeline import Pipeline
    from scff_hw.data._sequences import Sequences, load_sequences
    from scff_hw.data._spoken import SequencePipeline, SpokenDigits, load_spoken
    from scff_hw.data._types import Dataset, Recordings, Split

    NAMES: tuple[str, ...]

__all__ = [
    "DATASETS",
    "NAMES",
    "AudioAugmentation",
    "Augmentation",
    "Dataset",
    "Info",
    "Mfcc",
    "Pipeline",
    "Recordings",
    "SequencePipeline",
    "Sequences",
    "Split",
    "SpokenDigits",
    "Verified",
    "data_root",
    "dataset_names",
    "fetch",
    "hold_out",
    "info",
    "load",
    "load_fsdd",
    "load_sequences",
    "load_spoken",
    "shrink",
    "verify",
]

_MODULES = {
    "Mfcc": "_audio",
    "AudioAugmentation": "_audio_augment",
    "Augmentation": "_augment",
    "hold_out": "_datasets",
    "load": "_datasets",
    "load_fsdd": "_datasets",
    "shrink": "_datasets",
    "verify": "_datasets",
    "fetch": "_fetch",
    "Verified": "_files",
    "data_root": "_files",
    "Pipeline": "_pipeline",
    "Sequences": "_sequences",
    "load_sequences": "_sequences",
    "SequencePipeline": "_spoken",
    "SpokenDigits": "_spoken",
    "load_spoken": "_spoken",
    "Dataset": "_types",
    "Recordings": "_types",
    "Split": "_types",
}
"""Modules of the public names that need torch, imported at first use; recipes need only the catalogue."""


def __getattr__(name: str) -> Any:
    if name == "NAMES":
        return tuple(dataset_names())
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
