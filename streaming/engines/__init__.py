"""Inference backends (ONNX Runtime, OpenVINO, TensorFlow) and GPU discovery."""
