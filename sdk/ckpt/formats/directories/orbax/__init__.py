"""Checkpoints of Orbax, down to the arrays in their database."""
