"""A finished run as ONNX graphs."""
