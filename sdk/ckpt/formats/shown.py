"""An inspection as `ckpt inspect --json` prints it."""

from __future__ import annotations

import math
from typing import Any

from ckpt.encoding import path_fields, printable, split_nonfinite
from ckpt.formats.record import Inspection


def finite_plain(value: Any, where: str, missing: list[str]) -> Any:
    """Plain data with null for every number that is not finite; the names of those are added to `missing`."""
    if type(value) is float and not math.isfinite(value):
        missing.append(where)
        return None
    if type(value) is dict:
        return {key: finite_plain(item, f"{where}.{key}", missing) for key, item in value.items()}
    if type(value) is list:
        return [finite_plain(item, f"{where}.{index}", missing) for index, item in enumerate(value)]
    return value


def inspection_to_json(inspection: Inspection) -> dict[str, Any]:
    """The contract's shape: `nonfinite` names every number that is null because it is NaN or infinite."""
    metrics, nonfinite = split_nonfinite(inspection.metrics)
    numbers = {
        name: finite_plain(getattr(inspection, name), name, nonfinite)
        for name in ("step", "epoch", "loss", "learning_rate", "saved_at")
    }
    return {
        **path_fields(inspection.path),
        "framework": inspection.framework,
        "format": inspection.format,
        "state": inspection.state,
        **numbers,
        "metrics": metrics,
        "config": finite_plain(inspection.config, "config", nonfinite),
        "nonfinite": nonfinite,
        "parameter_count": inspection.parameter_count,
        "tensor_count": inspection.tensor_count,
        "bytes": inspection.bytes,
        "kinds": inspection.kinds,
        "bytes_read": inspection.bytes_read,
        "fingerprint": inspection.fingerprint,
        "tensors": [
            {"name": printable(info.name), "shape": list(info.shape), "dtype": info.dtype, "bytes": info.bytes}
            for info in inspection.tensors
        ],
        "resume": inspection.resume,
        "monitor": inspection.monitor,
        "mode": inspection.mode,
        "references": {name: [printable(path) for path in paths] for name, paths in inspection.references.items()},
        "from_name": list(inspection.from_name),
        "files": [printable(name) for name in inspection.files],
        "unknown_globals": [printable(name) for name in inspection.unknown_globals],
        "problems": [printable(problem) for problem in inspection.problems],
    }
