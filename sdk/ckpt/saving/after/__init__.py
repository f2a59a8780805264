"""What follows a save in the training's own thread.

following.py  all of it, in order: history, warnings, the log
callbacks.py  who is told
staged.py     what is written and waits for `commit()`
"""
