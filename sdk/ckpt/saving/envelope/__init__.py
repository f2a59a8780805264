"""What a checkpoint file contains: format v1, made from states and read back.

content.py   the states that one checkpoint holds          report.py     what they are, what was left out and why
writing.py   as the mapping that goes into a file          plain.py      as values that a safe loader takes
opening.py   that mapping out of a file, nothing run       foreign.py    what stands in for other makers' classes
places.py    where each layout keeps what                  reading.py    a mapping of any layout as states
tensors.py   tensors that a file can hold, and arrays      migration.py  what was found where in an older layout
"""

from ckpt.saving.envelope.content import FORMAT_VERSION, Columns, Content
from ckpt.saving.envelope.migration import Migration
from ckpt.saving.envelope.opening import read_envelope
from ckpt.saving.envelope.reading import from_envelope
from ckpt.saving.envelope.writing import to_envelope

__all__ = ["FORMAT_VERSION", "Columns", "Content", "Migration", "from_envelope", "read_envelope", "to_envelope"]
