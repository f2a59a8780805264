"""States out of the objects of a training.

protocol.py    what has a state, and how to ask for it and give it back
weights.py     a module, named modules or tensors as names and tensors
generators.py  random states: taken, proven and set          ranks.py   those of all processes of a training
configs.py     settings as plain data                        registry.py  objects that a training registered
metrics_history.py  what it emitted so far             epoch_loss.py  the losses of the epoch under way
gradients.py   those that count within an accumulation  steps.py  which of them a step has used
loaders.py     what loaders tell of themselves            phases.py   where in its epoch a training is saved
turns.py       what its steps tell of its loaders         environment.py  versions and machine that it runs with
trainers.py    the parts of anybody's trainer            arguments.py  arguments that cannot be what they should
taking.py      all of it together: the content of a checkpoint
"""
