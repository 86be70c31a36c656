"""Classifiers and detectors as ONNX files, compared with the model first."""
