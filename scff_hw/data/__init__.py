"""Data sets: download, reading, augmentation and batches.

dataset = load("mnist")                       # uint8 tensors and int64 labels
pipeline = Pipeline(dataset, "train", fit_scaling(dataset))   # pixels divided by 255
generator = torch.Generator().manual_seed(0)
order = pipeline.order(generator)
x = pipeline.batch(order[:100], Augmentation(translate_px=2), generator)   # float32 [100, 1, 28, 28]

spoken = load_sequences(mfcc=Mfcc(coefficients=40))   # float32 [3000, T, 39] with lengths; needs torchaudio
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scff_hw.data.catalogue import DATASETS, Info, dataset_names, info
from scff_hw.lazy import lazy

if TYPE_CHECKING:
    from scff_hw.data.audio import Mfcc
    from scff_hw.data.audio_augment import AudioAugmentation
    from scff_hw.data.augment import Augmentation
    from scff_hw.data.fetching import fetch
    from scff_hw.data.files import Verified, data_root
    from scff_hw.data.loading import hold_out, load, load_entry, load_fsdd, shrink, verify
    from scff_hw.data.pipeline import Pipeline
    from scff_hw.data.scaling import fit_scaling
    from scff_hw.data.sequences import Sequences, load_sequences
    from scff_hw.data.spoken import SequencePipeline, SpokenDigits, load_spoken
    from scff_hw.data.types import Dataset, Recordings, Split

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
    "fit_scaling",
    "hold_out",
    "info",
    "load",
    "load_entry",
    "load_fsdd",
    "load_sequences",
    "load_spoken",
    "shrink",
    "verify",
]

_lazily = lazy(
    __name__,
    {
        "scff_hw.data.audio": ["Mfcc"],
        "scff_hw.data.audio_augment": ["AudioAugmentation"],
        "scff_hw.data.augment": ["Augmentation"],
        "scff_hw.data.loading": ["hold_out", "load", "load_entry", "load_fsdd", "shrink", "verify"],
        "scff_hw.data.fetching": ["fetch"],
        "scff_hw.data.files": ["Verified", "data_root"],
        "scff_hw.data.pipeline": ["Pipeline"],
        "scff_hw.data.scaling": ["fit_scaling"],
        "scff_hw.data.sequences": ["Sequences", "load_sequences"],
        "scff_hw.data.spoken": ["SequencePipeline", "SpokenDigits", "load_spoken"],
        "scff_hw.data.types": ["Dataset", "Recordings", "Split"],
    },
)
"""Names that need torch are imported at first use; recipes need only the catalogue."""


def __getattr__(name: str) -> Any:
    return tuple(dataset_names()) if name == "NAMES" else _lazily(name)
