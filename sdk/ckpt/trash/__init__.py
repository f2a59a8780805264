"""The trash of a run: where removed checkpoints wait, whole and restorable, until they are purged.

    <run>/.trash/journal.jsonl      every act, a JSON line, written before it begins and after it ended
    <run>/.trash/reserve            bytes kept back so that a full disk can still journal
    <run>/.trash/<entry>/entry.json what was removed, why, and where it belongs
    <run>/.trash/<entry>/…          its files under their names inside the run

    TrashEntry   what lies in the trash                          entries.py
    Journal      what was begun and what ended                   journal.py
    Folder       renames and deletes that follow no symlink      folder.py
    Trash        remove, restore, purge, recover                 acts.py

A removal is one rename a file, on the same file system, never a copy. The trash knows no policy.
"""

from ckpt.trash.acts import Trash
from ckpt.trash.entries import TrashEntry, entry_to_json

__all__ = ["Trash", "TrashEntry", "entry_to_json"]
