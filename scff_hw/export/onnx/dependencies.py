"""The only imports of onnx and onnxruntime, so that there is one message where they are missing."""

from __future__ import annotations

from scff_hw.errors import MissingPartError

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun
except ImportError as missing:
    raise MissingPartError(
        f"Exporting to ONNX needs onnx and onnxruntime, which cannot be imported ({missing}); "
        "type: pip install 'scff-hw[export]'"
    ) from missing

__all__ = ["OpRun", "ReferenceEvaluator", "TensorProto", "helper", "numpy_helper", "onnx", "onnxruntime"]
