"""Data sets: fetch them, read the publishers' files, augment, and serve batches.

dataset = load("mnist")                       # uint8 tensors and int64 labels
pipeline = Pipeline(dataset, "train", mean=(0.0,), std=(1.0,))
generator = torch.Generator().manual_seed(0)
order = pipeline.order(generator)
x = pipeline.batch(order[:100], Augmentation(translate_px=2), generator)   # float32 [100, 1, 28, 28]

spoken = load_sequences(mfcc=Mfcc(coefficients=40))   # float32 [3000, T, 39] with lengths; needs torchaudio
"""

from scff_hw.data._audio import Mfcc
from scff_hw.data._audio_augment import AudioAugmentation
from scff_hw.data._augment import Augmentation
from scff_hw.data._catalogue import NAMES, Info, info
from scff_hw.data._datasets import hold_out, load, load_fsdd, shrink, verify
from scff_hw.data._fetch import fetch
from scff_hw.data._files import Verified, data_root
from scff_hw.data._pipeline import Pipeline
from scff_hw.data._sequences import Sequences, load_sequences
from scff_hw.data._spoken import SequencePipeline, SpokenDigits, load_spoken
from scff_hw.data._types import Dataset, Recordings, Split

__all__ = [
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
