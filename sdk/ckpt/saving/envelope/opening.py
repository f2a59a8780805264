"""The mapping in a checkpoint file, loaded so that nothing of it is run."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import CheckpointError, CorruptError, FormatError
from ckpt.saving.envelope import foreign


def read_envelope(path: Path, map_location: Any = "cpu", *, mapped: bool = False) -> dict[str, Any]:
    """The mapping in a checkpoint file, loaded safely; `mapped` leaves tensors in the file until they are looked at.

    Classes of the format's first writer, arrays and paths become plain data; they are never imported. Raises
    FileNotFoundError, CorruptError for a damaged file, CheckpointError for one that names what no safe loader calls,
    FormatError for what is no checkpoint.
    """
    name = printable(str(path))
    strange: list[str] = []
    try:
        try:
            loaded = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:
            strange = _strange_names(path)
            if not strange:
                raise
            loaded = _load_with_stand_ins(path, map_location, strange, mapped=mapped)
    except (FileNotFoundError, CheckpointError):
        raise
    except Exception as error:
        # torch.load tells damage by many kinds of error: of pickle, zip, encoding, indices and its own.
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        raise CorruptError(f"{name} cannot be loaded: {printable(_reason(error))}") from error
    if not isinstance(loaded, Mapping):
        raise FormatError(f"{name} holds a {type(loaded).__name__}, not a checkpoint")
    if not strange:
        return dict(loaded)
    try:
        plain: dict[str, Any] = foreign.without_stand_ins(dict(loaded))
    except FormatError as error:
        raise FormatError(f"{name}: {error.message}") from error
    return plain


def _reason(error: Exception) -> str:
    """What went wrong, without what torch advises: to load unsafely."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive, which is a program and no checkpoint"
    if isinstance(error, pickle.UnpicklingError):
        text = text.rpartition("WeightsUnpickler error:")[2] if "WeightsUnpickler error:" in text else ""
        text = text or "its pickle is damaged"
    text = text.partition("Please ")[0].partition("The weights_only ")[0]
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _load_with_stand_ins(path: Path, map_location: Any, strange: list[str], *, mapped: bool) -> Any:
    stand_ins = [(made, found) for found in strange if (made := foreign.stand_in(found)) is not None]
    refused = sorted(set(strange) - {found for _, found in stand_ins})
    if refused:
        raise CheckpointError(
            f"{printable(str(path))} cannot be loaded safely: it names {', '.join(map(printable, refused[:5]))}",
            hint="load it with the program that wrote it, and save states and plain values alone",
        )
    with torch.serialization.safe_globals(list(stand_ins)):
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)


def _strange_names(path: Path) -> list[str]:
    """Names in the file's pickle that a safe loader does not know; [] where that cannot be told."""
    try:
        return [str(name) for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)]
    except (
        pickle.UnpicklingError,
        ValueError,
        RuntimeError,
        OSError,
        EOFError,
        AssertionError,
        LookupError,
        struct.error,
    ):
        # What is damaged, or of a format without such a list, is told of by the load itself.
        return []
