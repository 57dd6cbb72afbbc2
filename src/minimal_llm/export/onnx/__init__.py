"""Export to ONNX, in fp32 and int8."""
