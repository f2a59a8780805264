"""Checkpoints of transformers, accelerate and peft, and weights of models in directories."""
