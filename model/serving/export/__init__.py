"""ONNX graphs that answer as the service does: any picture in, probabilities out."""
