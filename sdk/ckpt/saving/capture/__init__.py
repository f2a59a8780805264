"""States out of the objects of a training.

protocol.py    what has a state, and how to ask for it and give it back
weights.py     a module, named modules or tensors as names and tensors
generators.py  random states: taken, proven and set          ranks.py   those of all processes of a training
configs.py     settings as plain data                        report.py  what was captured, what was left out and why
registry.py    objects that a training registered         metrics_history.py  what it emitted so far
taking.py      all of it together: the content of a checkpoint
"""

from ckpt.saving.capture.generators import RANDOM_ALIASES, capture_random, restore_random
from ckpt.saving.capture.protocol import has_state, state_dicts_of
from ckpt.saving.capture.weights import is_modules, unwrap, weights_of

__all__ = [
    "RANDOM_ALIASES",
    "capture_random",
    "has_state",
    "is_modules",
    "restore_random",
    "state_dicts_of",
    "unwrap",
    "weights_of",
]
