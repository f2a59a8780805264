"""What the training hands over, copied and on its way to the disk.

snapshot.py  what one save is made of: content and marker
packing.py   that as a file: laid out, not copied    pickling.py its pickle, and the storages that it names
staging.py   the storages into shared memory         devices.py  those of accelerators
sender.py    all of that, which the training waits for, up to the queue
queue.py     what is being written and what waits    carrying.py who writes it
outbox.py    what the managers of a run share of it  names.py    what a file is called
"""
