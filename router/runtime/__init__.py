"""ONNX Runtime on every tier: sessions, providers, hosting of variants."""
