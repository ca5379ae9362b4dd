"""Self-Contrastive Forward-Forward learning, for the hardware that runs it.

    import scff_hw

    run = scff_hw.train("digits-20", "runs/first")
    run.accuracy, run.metrics, run.features("test")
    run.evaluate(profile="ecram")
    run.export("onnx", "exported")

Names are imported at first use: `import scff_hw` imports neither torch nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scff_hw.lazy import lazy as _lazy

if TYPE_CHECKING:
    from scff_hw.data import Dataset, load
    from scff_hw.estimators import SCFFClassifier, SCFFTransformer
    from scff_hw.hardware import Profile, load_profile
    from scff_hw.module import SCFFModule
    from scff_hw.notebook import Run, open_run, study, train
    from scff_hw.recipes import Recipe, load_recipe

    __version__: str

__all__ = [
    "Dataset",
    "Profile",
    "Recipe",
    "Run",
    "SCFFClassifier",
    "SCFFModule",
    "SCFFTransformer",
    "__version__",
    "load",
    "load_profile",
    "load_recipe",
    "open_run",
    "study",
    "train",
]

_late = _lazy(
    __name__,
    {
        "scff_hw.data": ["Dataset", "load"],
        "scff_hw.estimators": ["SCFFClassifier", "SCFFTransformer"],
        "scff_hw.hardware": ["Profile", "load_profile"],
        "scff_hw.module": ["SCFFModule"],
        "scff_hw.notebook": ["Run", "open_run", "study", "train"],
        "scff_hw.recipes": ["Recipe", "load_recipe"],
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("scff-hw")
    return _late(name)


def __dir__() -> list[str]:
    return sorted(__all__)
