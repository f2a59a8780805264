"""Torch distributed checkpoints: records, geometry, bytes over many files, values."""
