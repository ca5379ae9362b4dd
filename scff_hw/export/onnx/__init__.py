"""Export of a finished run as ONNX graphs."""
