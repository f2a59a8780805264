"""Runs as the process that trains holds them; importing this loads no torch.

run.py          Run: the handle that a training holds, and how it is made
looking.py      what the handle tells of a run    marking.py      what the user says of its checkpoints
manifest.py     run.json and config.yaml, made and read
config_file.py  hyper-parameters as plain data, and as YAML for people
directories.py  names of runs, and directories that no two processes share
forking.py      a new run that starts at a checkpoint of another
lookup.py       what a caller names: a run's directory, a checkpoint of it
lock.py         run.lock as a training takes it
recovering.py   what a killed training left half way
under_way.py    what goes on beside a training, such as its saves
attempts.py     how the attempts of this process end
command_line.py how this process was started, without secrets
feed.py         states.jsonl, line by line        metrics_file.py   metrics.csv behind it
announcing.py   how the daemon of this machine hears of a run
redirecting.py  where runs lie while a self-test goes on
rank.py         which process of a distributed training this is
"""

from ckpt.runs.run import Run

__all__ = ["Run"]
