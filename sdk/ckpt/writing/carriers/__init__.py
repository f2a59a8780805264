"""Who performs a job: this thread, another, or a process of its own.

base.py       what they have in common       inline.py   this thread
thread.py     another thread                 process.py  a process
serving.py    the thread beside the process  writer.py   that process, seen from the training
program.py    that process itself            messages.py what they say to each other
aftermath.py  what a dead writer left        lifetime.py exit and fork
"""

from ckpt.writing.carriers.base import Carrier, Done
from ckpt.writing.carriers.inline import InlineCarrier
from ckpt.writing.carriers.process import ProcessCarrier
from ckpt.writing.carriers.thread import ThreadCarrier

__all__ = ["Carrier", "Done", "InlineCarrier", "ProcessCarrier", "ThreadCarrier"]
