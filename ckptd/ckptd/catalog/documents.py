"""How the catalog writes a run: one JSON document, exact for every number and every text.

    {"schema", "version", "written", "signature", "run": {…}, "wishes": {…}, "checkpoints": […]}

Numbers that are not finite follow the rules of the disk. Text that is not UTF-8 is {"$text": base64}, and a mapping
whose keys JSON or these rules cannot hold is {"$items": [[key, value], …]}. Plans are not written: they follow from
the checkpoints, what the run wishes, and what is configured.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
from tinydb.storages import Storage

from ckpt import encoding, files, retention
from ckpt.exceptions import CkptError
from ckpt.records import Checkpoint, Run
from ckpt.retention import FOREIGN, OWN
from ckpt.scan import RunView, Wishes

SCHEMA = 4
_MARK = "$"
_TEXT, _ITEMS = "$text", "$items"
_encode = msgspec.json.Encoder().encode


class Fields(TypedDict):
    """The fields of a document."""

    schema: int
    version: str
    written: float
    signature: str | None
    run: dict[str, Any]
    wishes: dict[str, Any]
    checkpoints: list[Checkpoint]


# Not strict: the names of numbers that are not finite stand where numbers are expected.
_decoder = msgspec.json.Decoder(dict[str, dict[str, Fields]], strict=False)


class DocumentStorage(Storage):
    """A TinyDB storage of one JSON file, encoded by msgspec and replaced atomically.

    With access mode "w" it is empty until it is written. Reading raises ValueError for what is not JSON.
    """

    def __init__(self, path: Path, access_mode: Literal["r+", "w"] = "r+") -> None:
        self._path = path
        self._is_fresh = access_mode == "w"

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables, checkpoints as records where they are written plainly; None when there is no file."""
        if self._is_fresh:
            return None
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _decoder.decode(data)
        except msgspec.ValidationError:
            value = encoding.loads(data)
        if not isinstance(value, dict):
            raise ValueError("not a document")
        return value

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Replaces all tables. Raises OSError; the old content then stays."""
        files.atomic_write(self._path, _encode(data), mode=0o600)
        self._is_fresh = False


def to_document(view: RunView, version: str, signature: str | None) -> dict[str, Any]:
    """The document of a run, ready for a storage's encoder."""
    return {
        "schema": SCHEMA,
        "version": version,
        "written": time.time(),
        "signature": signature,
        "run": _pack(msgspec.to_builtins(view.run)),
        "wishes": _pack(msgspec.to_builtins(view.wishes)),
        "checkpoints": [_encoded(checkpoint) for checkpoint in view.checkpoints],
    }


def from_document(document: Mapping[str, Any]) -> RunView:
    """The run behind `to_document`. Raises ValueError, KeyError or TypeError for anything else."""
    run: Run = msgspec.convert(_unpack(document["run"]), Run, strict=False)
    checkpoints = document["checkpoints"]
    if not all(isinstance(checkpoint, Checkpoint) for checkpoint in checkpoints):
        checkpoints = msgspec.convert(_unpack(msgspec.to_builtins(checkpoints)), list[Checkpoint], strict=False)
    kinds: dict[str, int] = {}
    for checkpoint in checkpoints:
        if checkpoint.run != run.id:
            raise ValueError(f"checkpoint {checkpoint.id} is of another run")
        kinds = checkpoint.kinds if checkpoint.kinds != kinds else kinds
        _share(checkpoint, run.id, kinds)
    try:
        wishes = msgspec.convert(_unpack(document["wishes"]), Wishes)
        merged = retention.merge(wishes.layers)
        situation = OWN if run.own else FOREIGN.evolve(guessed=merged.guessed)
        plan = retention.plan(checkpoints, merged.policy, time.time(), situation=situation)
    except CkptError as error:
        raise ValueError(error.message) from error
    return RunView(
        run=run,
        checkpoints=tuple(checkpoints),
        plan=plan,
        wishes=wishes,
        situation=situation,
        origins=merged.origins,
    )


def _share(checkpoint: Checkpoint, run: str, kinds: dict[str, int]) -> None:
    """Lets equal values of a record that nobody has seen yet be one object: there may be many such records."""
    msgspec.structs.force_setattr(checkpoint, "kinds", kinds)
    msgspec.structs.force_setattr(checkpoint, "run", run)
    if checkpoint.files[:1] == (checkpoint.path,):
        msgspec.structs.force_setattr(checkpoint, "files", (checkpoint.path, *checkpoint.files[1:]))


def _encoded(checkpoint: Checkpoint) -> msgspec.Raw:
    if _is_finite(checkpoint):
        try:
            return msgspec.Raw(_encode(checkpoint))
        except UnicodeEncodeError:
            pass
    return msgspec.Raw(_encode(_pack(msgspec.to_builtins(checkpoint))))


def _is_finite(checkpoint: Checkpoint) -> bool:
    """Whether JSON can hold all numbers; also false where their sum is beyond the range of a float."""
    c = checkpoint
    try:
        total = (c.loss or 0.0) + (c.learning_rate or 0.0) + (c.epoch or 0.0) + c.saved_at + sum(c.metrics.values())
        return math.isfinite(total)
    except OverflowError:
        return False


def _pack(value: Any) -> Any:
    """Plain data as JSON can hold it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else encoding.nonfinite_name(value)
    if isinstance(value, str):
        return value if _is_utf8(value) else _packed_text(value)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith(_MARK) and _is_utf8(key) for key in value):
            return {key: _pack(item) for key, item in value.items()}
        return {_ITEMS: [[_pack(key), _pack(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    """What `_pack` was given, but for numbers that are not finite: those stay names."""
    if isinstance(value, Mapping):
        # A checkpoint that is written plainly may have a metric of that name: its value is a number.
        if value.keys() == {_TEXT} and isinstance(value[_TEXT], str):
            return base64.b64decode(value[_TEXT]).decode("utf-8", "surrogatepass")
        if value.keys() == {_ITEMS} and isinstance(value[_ITEMS], list):
            return {_unpack(key): _unpack(item) for key, item in value[_ITEMS]}
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _packed_text(text: str) -> dict[str, str]:
    return {_TEXT: base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")}
