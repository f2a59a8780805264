"""The trash: where removed checkpoints wait, whole and restorable, until they are purged.

    <run>/.trash/                   of an own run
    <root>/.ckptd/trash/            of somebody else's directories below a root
    <parent>/.ckptd-<name>/trash/   of a root that itself holds checkpoints side by side

    journal.jsonl      every act, a JSON line, written before it begins and after it ended
    settled            how much of the journal holds no open act
    reserve            bytes kept back so that a full disk can still journal
    <entry>/entry.json what was removed, why, and where it belongs
    <entry>/…          its files under their names inside the run or root

    placing      where the trash of a root lies                  placing.py
    Owner        who may remove below a root                     owning.py
    Stamp        whether something is still what was seen        stamps.py
    TrashEntry   what lies in the trash                          entries.py
    Journal      what was begun and what ended                   journal.py
    Folder       renames and deletes that follow no symlink      folder.py
    Trash        remove, restore, purge, recover                 acts.py

A removal is one rename a file, on the same file system, never a copy. The trash knows no policy.
"""

from ckpt.trash.acts import Trash
from ckpt.trash.entries import TrashEntry, entry_to_json
from ckpt.trash.owning import Owned, Owner
from ckpt.trash.placing import Place
from ckpt.trash.stamps import Stamp, stamp_of

__all__ = ["Owned", "Owner", "Place", "Stamp", "Trash", "TrashEntry", "entry_to_json", "stamp_of"]
