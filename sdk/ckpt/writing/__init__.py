"""A checkpoint file onto the disk, whole or not at all, beside a training that goes on; without torch.

layout.py      where each record of a torch archive lies in its file: pure
zipped.py      the parts of a zip file around its contents, as torch makes them
sealing.py     checksums into the file as it passes
image.py       the bytes of a file that is to be written      memory.py   where they may lie
disk.py        fast and durable writing                       room.py     what to do when a disk is full
jobs.py        what is asked of a writer, and what came of it
performing.py  one job: write, prove, commit                  committing.py   name, marker
upkeep.py      pointers, retention and trash after a save     waiting.py      how long that waits
carriers/      who performs: this thread, another, or a process of its own
"""
