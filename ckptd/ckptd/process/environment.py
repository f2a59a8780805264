"""The environment that a daemon gets, whoever starts it from wherever. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping

_PLACES = ("CKPTD_CONFIG_HOME", "CKPTD_STATE_HOME", "CKPTD_RUNTIME_DIR", "XDG_CONFIG_HOME")
_CLIENTS_ONLY = "CKPTD_AUTOSTART"

_OF_A_JOB = ("SLURM_", "SBATCH_", "OMPI_", "PMI_", "PMIX_", "TORCHELASTIC_", "LISTEN_")
_OF_A_PROCESS = frozenset(
    {
        "RANK",
        "LOCAL_RANK",
        "GROUP_RANK",
        "ROLE_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
    }
)
"""What a scheduler, a launcher or a service manager says to one process and not to a daemon that outlives it."""


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where ckptd's files lie and how it works; places absolute, seen from this directory."""
    return {
        name: os.path.abspath(os.path.expanduser(value)) if name in _PLACES else value
        for name, value in environment.items()
        if value and (name.startswith("CKPTD_") or name in _PLACES) and name != _CLIENTS_ONLY
    }


def for_daemon(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what belongs to a training or a service that happens to start the daemon."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _OF_A_PROCESS and not name.startswith(_OF_A_JOB)
    }
    return {**kept, **settings(kept)}
