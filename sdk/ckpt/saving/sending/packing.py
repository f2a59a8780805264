"""A checkpoint laid out as the file that it becomes; its tensors are still the training's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckpt.saving.sending.pickling import Pickled, pickle_envelope
from ckpt.saving.sending.staging import checked
from ckpt.writing.layout import Layout, lay_out

FOLDER = "archive"
"""The folder in the file that all its records are in: that of torch.save into an open file."""


@dataclass(frozen=True)
class Packed:
    """What the file holds, and where."""

    pickled: Pickled
    layout: Layout

    @property
    def is_on_accelerator(self) -> bool:
        """Whether tensors have to be copied from a GPU, which takes long."""
        return any(storage.device.type == "cuda" for storage in self.pickled.storages)


def pack(envelope: dict[str, Any], *, like: Layout | None = None) -> Packed:
    """Pickles an envelope and lays the file out, where it can be `like` an earlier one.

    Raises StateError for what cannot be stored, such as a tensor without data.
    """
    pickled = pickle_envelope(envelope)
    sizes = [storage.nbytes() for storage in pickled.storages]
    packed = Packed(pickled, lay_out(FOLDER, len(pickled.data), sizes, like=like))
    # Known before another save gives way to this one.
    checked(packed.layout, pickled.storages)
    return packed
