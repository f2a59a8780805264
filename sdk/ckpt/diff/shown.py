"""A difference as `ckpt diff --json` prints it."""

from __future__ import annotations

from typing import Any

from ckpt.diff.record import Difference, KeyChange, TensorChange
from ckpt.encoding import path_fields, printable
from ckpt.formats.shown import finite_plain


def difference_to_json(difference: Difference) -> dict[str, Any]:
    """The contract's shape. A value that is null because it is NaN or infinite has its side named in `nonfinite`."""
    paths = path_fields(difference.a), path_fields(difference.b)
    shown: dict[str, Any] = {"a": paths[0]["path"], "b": paths[1]["path"]}
    for side, fields in zip("ab", paths, strict=True):
        if "path_b64" in fields:
            shown[f"{side}_b64"] = fields["path_b64"]
    return {
        **shown,
        "same": difference.same,
        "metadata": [_key(change) for change in difference.metadata],
        "metrics": [_key(change) for change in difference.metrics],
        "config": [_key(change) for change in difference.config],
        "values": [_key(change) for change in difference.values],
        "tensors": {
            "added": [printable(name) for name in difference.added],
            "removed": [printable(name) for name in difference.removed],
            "changed": [_tensor(change) for change in difference.changed],
            "identical": difference.identical,
            "by_checksum": difference.by_checksum,
        },
        "prefixes": {side: printable(prefix) for side, prefix in zip("ab", difference.prefixes, strict=True)},
    }


def _key(change: KeyChange) -> dict[str, Any]:
    missing: list[str] = []
    a = finite_plain(change.a, "a", missing)
    b = finite_plain(change.b, "b", missing)
    return {"key": printable(change.key), "a": a, "b": b, "only": change.only, "nonfinite": missing}


def _tensor(change: TensorChange) -> dict[str, Any]:
    missing: list[str] = []
    statistics = {
        name: finite_plain(getattr(change, name), name, missing) for name in ("max_abs", "l2", "relative_l2", "cosine")
    }
    return {
        "name": printable(change.name),
        "kind": change.kind,
        **statistics,
        "a": change.a,
        "b": change.b,
        "nonfinite": missing,
    }
