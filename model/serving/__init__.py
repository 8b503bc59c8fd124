"""Inference for the service: the inner loop in closed form, phi on its fastest engine, ONNX graphs."""
