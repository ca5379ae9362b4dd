"""Import of torchaudio, if necessary without its native extension, which MFCC features do not need."""

from __future__ import annotations

import sys
import types
from typing import Any

from scff_hw.errors import MissingPartError

_EXTENSION = "torchaudio._extension"


def _identity(function: Any) -> Any:
    return function


def load_torchaudio() -> Any:
    """Import and return the module `torchaudio.transforms`.

    PyPI's wheel links CUDA, so with a CPU build of torch the import of its native extension fails. The transforms used
    here are pure Python and work with an empty module instead of the extension.

    Raises:
        MissingPartError: torchaudio is not installed, or cannot be imported for another reason.
    """
    try:
        try:
            import torchaudio.transforms
        except (OSError, RuntimeError):
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
                del sys.modules[name]
            sys.modules[_EXTENSION] = _stand_in()
            import torchaudio.transforms
    except (ImportError, OSError, RuntimeError) as error:
        sys.modules.pop(_EXTENSION, None)
        raise MissingPartError(
            f"Features of audio need torchaudio, which cannot be imported ({error}); "
            "type: pip install 'scff-hw[audio]'"
        ) from error
    return torchaudio.transforms


def _stand_in() -> Any:
    module: Any = types.ModuleType(_EXTENSION)
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False
    module.fail_if_no_align = _identity
    return module
