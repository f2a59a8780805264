"""By what rules a run is saved and kept: read from its manifest, and written there for whoever keeps it later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ckpt.config import CheckpointConfig
from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.runs import Run


def recorded(run: Run) -> CheckpointConfig:
    """The config that the run was last saved with; the default one when there is none."""
    found = run.manifest.get("saving")
    return CheckpointConfig.from_dict(found) if isinstance(found, dict) else CheckpointConfig()


def followed(run: Run, config: CheckpointConfig) -> tuple[str, Literal["min", "max"]]:
    """The metric that decides what is best: the config's, else the run's own, else the loss."""
    own = run.manifest.get("monitor")
    if config.save_on_best_metric is None and isinstance(own, str):
        return own, "max" if run.manifest.get("mode") == "max" else "min"
    return config.monitor, config.mode


def describe(run: Run, config: CheckpointConfig | None, names: Mapping[str, str | None]) -> None:
    """Writes names and rules into run.json, so that the daemon keeps the run alike; None is a config nobody gave.

    Raises OperationError when that cannot be written.
    """
    fields: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
    if config is not None:
        policy = config.to_policy()
        monitor, mode = followed(run, config)
        fields.update(saving=config.to_dict(), monitor=monitor, mode=mode)
        # A policy that the run was made with stays when the config says nothing of what to keep.
        fresh = "saving" not in run.manifest and not run.forked
        if policy.has_rules or not (fresh and run.manifest.get("policy")):
            fields["policy"] = policy.to_json()
    if fields:
        try:
            run.update(**fields)
        except OSError as error:
            shown = printable(str(run.paths.directory))
            raise OperationError(f"run {shown} cannot be written: {error.strerror or error}") from error
