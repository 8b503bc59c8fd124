"""What answers requests: adaptation in closed form, phi on its fastest engine, ONNX graphs."""
