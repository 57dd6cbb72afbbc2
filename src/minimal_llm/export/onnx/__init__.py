"""The model as an ONNX graph, in fp32 and int8."""
