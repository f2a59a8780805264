"""HDF5 files: whole when they reach to the end that their superblock names. Their data sets are not listed."""

from __future__ import annotations

from typing import ClassVar

from ckpt.formats.containers.family import Content, Family, digest, samples
from ckpt.formats.source import Damaged, Source, Unfinished

_MAGIC = b"\x89HDF\r\n\x1a\n"
_BASE_AT = {0: 24, 1: 28, 2: 12, 3: 12}
"""Where the first address of a superblock stands, by its version; the end of the file is the third."""
_WIDTH_AT = {0: 13, 1: 13, 2: 9, 3: 9}
_FLAGS_AT = 11
_OPEN_FOR_WRITING = 0x1
UNLISTED = "the data sets of its HDF5 part"


class Hdf5(Family):
    """An HDF5 file of any kind."""

    format: ClassVar[str] = "hdf5"
    framework: ClassVar[str] = "unknown"

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(8)
        if head == _MAGIC:
            return True
        # The superblock is written last: until then there are zeros.
        begun = not head.strip(b"\0") or _MAGIC.startswith(head)
        return begun and source.path.endswith((".h5", ".hdf5"))

    def prove(self) -> None:
        prove_superblock(self.source)

    def read(self) -> Content:
        size = self.source.size
        pieces = [size.to_bytes(8, "little"), *samples(self.source, [(0, size)])]
        return Content({}, f"hdf5:{digest(pieces)}", omitted=(UNLISTED,))


class KerasWeights(Hdf5):
    """Weights that Keras saves alone, as `NAME.weights.h5`."""

    framework: ClassVar[str] = "keras"

    @classmethod
    def recognise(cls, source: Source) -> bool:
        return source.path.endswith(".weights.h5") and super().recognise(source)

    def read(self) -> Content:
        content = super().read()
        content.top = {"weights_file": {"bytes": self.source.size}}
        return content


def prove_superblock(source: Source) -> None:
    """Proves that an HDF5 file reaches to its end. Raises Unfinished or Damaged when it does not."""
    head = source.head(64)
    if len(head) < 64:
        raise Unfinished("it is shorter than any HDF5 file")
    if not head.startswith(_MAGIC):
        raise Unfinished("its HDF5 superblock is not written yet")
    version = head[8]
    if version not in _BASE_AT:
        raise Damaged(f"its HDF5 superblock has version {version}, which is not known")
    width = head[_WIDTH_AT[version]]
    if width not in (2, 4, 8):
        raise Damaged(f"its HDF5 superblock has addresses of {width} bytes")
    if version == 3 and head[_FLAGS_AT] & _OPEN_FOR_WRITING:
        raise Unfinished("it is open for writing, by its HDF5 superblock")
    base, _, end = (
        int.from_bytes(head[at : at + width], "little")
        for at in range(_BASE_AT[version], _BASE_AT[version] + 3 * width, width)
    )
    if base + end > source.size:
        raise Unfinished(f"it has {source.size} bytes of the {base + end} that its HDF5 superblock names")
