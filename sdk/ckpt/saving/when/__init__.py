"""When to save, and when to stop.

rules.py      all the rules of one run, as its training asks them
governing.py  by what rules: the config, and what the run's manifest says
decisions.py  whether a rule asks: pure               history.py    what was saved, as the rules see it
signals.py    signals that ask                        watchdog.py   what ends a wait that takes too long
last_save.py  the save of a training that fails       early_stopping.py  when to stop
"""
