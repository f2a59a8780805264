"""The state of a training at one moment, and its exact round trip to a file.

training.py  TrainingState          values.py  nested values as plain data: every dtype, integer keys, tuples, NaN
nesting.py   what every walk through nested state has in common
"""

from ckpt.state.training import TEXT_UP_TO, TrainingState, real, whole

__all__ = ["TEXT_UP_TO", "TrainingState", "real", "whole"]
