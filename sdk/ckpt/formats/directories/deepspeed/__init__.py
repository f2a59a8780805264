"""Checkpoints of DeepSpeed: ranks, ZeRO, the universal form."""
