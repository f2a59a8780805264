"""Who performs a job: this thread, another, or a process of its own.

base.py     what they have in common
"""
