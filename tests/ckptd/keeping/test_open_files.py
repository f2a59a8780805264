"""Which checkpoints some process has open, with a real process that has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptd.keeping.open_files import IN_USE, users_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leases are known on Linux only")

HOLD = "import sys; held = [open(path, 'rb') for path in sys.argv[1:]]; print('ready', flush=True); sys.stdin.read()"


def test_what_is_open_is_skipped_with_who_has_it_open(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=1, keep_best=1, monitor="eval_loss")
    (view,) = world.catalog.all()
    going = [decision.checkpoint for decision in world.keeper.plan().runs[0].remove]
    assert len(going) > 2 and users_of(view.checkpoints) == {}
    held = [Path(checkpoint.path) for checkpoint in going[:2]]
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLD, *(str(place / "optimizer.pt") for place in held)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        users = users_of(view.checkpoints)
        assert users.keys() == {checkpoint.id for checkpoint in going[:2]}
        assert all(user.endswith(f"(pid {child.pid})") for user in users.values())
        (plan,) = world.keeper.plan().runs
        assert {d.checkpoint.id for d in plan.remove} == {c.id for c in going[2:]}
        skipped = {d.checkpoint.id: d.verdict.reasons for d in plan.skip}
        for checkpoint in going[:2]:
            (reason,) = skipped[checkpoint.id]
            assert (reason.rule, reason.text) == (IN_USE, f"in use by {users[checkpoint.id]}")
    finally:
        child.communicate()
    assert run.is_dir() and users_of(view.checkpoints) == {}
