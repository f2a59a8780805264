"""Checkpoints that are directories: one family a module, with the same face (`kind.Kind`)."""
