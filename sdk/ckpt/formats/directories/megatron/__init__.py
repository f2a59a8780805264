"""Checkpoints of Megatron-LM, by ranks or distributed."""
