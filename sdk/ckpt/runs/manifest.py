"""run.json: what a run is, made and read."""

from __future__ import annotations

import os
import platform
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.runs.config_file import to_yaml


def new_manifest(name: str, **fields: Any) -> dict[str, Any]:
    """The content of a fresh `run.json`; `fields` replace the defaults.

    Raises UsageError for a field that a manifest does not have.
    """
    manifest: dict[str, Any] = {
        "format": 1,
        "id": uuid.uuid4().hex,
        "name": name,
        "created": time.time(),
        "parent": None,
        "config": {},
        "policy": {},
        "monitor": None,
        "mode": "min",
        "model_name": None,
        "experiment_name": None,
        "host": {
            "hostname": socket.gethostname(),
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "attempts": [],
        "ending": None,
    }
    unknown = set(fields) - set(manifest)
    if unknown:
        raise UsageError(f"a run's manifest has no {', '.join(sorted(unknown))}")
    return {**manifest, **fields}


def write_new(directory: Path, manifest: dict[str, Any]) -> None:
    """Makes a directory the run that the manifest describes; `run.json` comes last, and a `config.yaml` stays.

    Raises FileExistsError when the directory is a run already, OSError.
    """
    paths = RunPaths(directory)
    if not os.path.lexists(paths.config):
        write_config(directory, manifest["config"])
    files.write_json(paths.manifest, manifest, overwrite=False)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Writes the hyper-parameters for people. Raises OSError."""
    files.atomic_write(RunPaths(directory).config, to_yaml(config))


def read_manifest(directory: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Raises AddressError when there is none, and OperationError when it is damaged or of an unknown format.
    """
    path = RunPaths(directory).manifest
    try:
        manifest = files.read_json(path, limit=16 << 20)
    except FileNotFoundError:
        raise AddressError(f"{printable(str(directory))} is no run: it has no run.json") from None
    except (OSError, ValueError) as error:
        raise OperationError(f"{printable(str(path))} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("id"), str):
        raise OperationError(f"{printable(str(path))} is not the manifest of a run")
    if manifest.get("format") != 1:
        raise OperationError(
            f"{printable(str(path))} has format {manifest.get('format')!r}, and this version knows 1",
            hint="use the version that wrote it, or a newer one",
        )
    return manifest
