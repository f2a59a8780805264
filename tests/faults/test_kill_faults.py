"""SIGKILL of the daemon at random moments of a storm of writes: after a restart nothing is missed or lost."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import daemon_note
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths, socket_path

KILLS = 3  # in one round


class Marker:
    """Marks checkpoints through the API, and remembers what was acknowledged."""

    def __init__(self, refs: list[str], chance: random.Random) -> None:
        self.refs = refs
        self.chance = chance
        self.tags: dict[str, str] = {}
        self.pinned: dict[str, bool] = {}
        self.notes: dict[str, str] = {}
        self.number = 0

    def mark(self, daemon: Any) -> None:
        """One mark; raises what the daemon's death raises, and then nothing is promised of it."""
        self.number += 1
        ref, kind = self.chance.choice(self.refs), self.chance.choice(["tag", "pin", "unpin", "note"])
        # What was not acknowledged may have come to pass or not.
        if kind == "tag":
            daemon.post("/v1/marks", ref=ref, kind=kind, name=f"t{self.number}")
            self.tags[f"t{self.number}"] = ref
        elif kind == "note":
            self.notes.pop(ref, None)
            daemon.post("/v1/marks", ref=ref, kind=kind, text=f"note {self.number}")
            self.notes[ref] = f"note {self.number}"
        else:
            self.pinned.pop(ref, None)
            daemon.post("/v1/marks", ref=ref, kind=kind)
            self.pinned[ref] = kind == "pin"

    def lost(self, daemon: Any) -> list[str]:
        """What was acknowledged and is not there."""
        found = {ref: daemon.get("/v1/resolve", ref=ref)["checkpoint"] for ref in self.refs}
        lost = [f"tag {name} of {ref}" for name, ref in self.tags.items() if name not in found[ref]["tags"]]
        lost += [f"pin of {ref}: {pin}" for ref, pin in self.pinned.items() if found[ref]["pinned"] != pin]
        return lost + [f"note of {ref}" for ref, text in self.notes.items() if found[ref]["note"] != text]


@pytest.fixture
def marker(root: Path, templates: Path, weights: Callable[..., Path], runs: Any, chance: random.Random) -> Marker:
    """Marks of an own and of a foreign run that no storm touches."""
    own = runs.run("steady-own", checkpoints=2, base=root)
    foreign = [weights(root / "steady-foreign" / f"model-{step}.safetensors", step) for step in (1, 2)]
    return Marker([str(path) for path in (*sorted((own / "checkpoints").glob("*.pt")), *foreign)], chance)


def mark_until_dead(marker: Marker, daemon: Any, times: int) -> None:
    """So many marks, or fewer when the daemon dies."""
    with contextlib.suppress(CkptError, OSError, http.client.HTTPException):
        for _ in range(times):
            marker.mark(daemon)


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("kind", ["storm_writer", "sdk_writer"])
def test_after_kills_in_a_storm_the_catalog_equals_a_scan(
    kind: str,
    start: Callable[..., Any],
    storm: Callable[..., Any],
    root: Path,
    marker: Marker,
    chance: random.Random,
    equals_scan: Callable[..., None],
) -> None:
    writer = storm(root, kind)
    seq = 0
    for _ in range(KILLS):
        # Not always ready: the first look is killed as well.
        daemon = start("--watch", root, ready=chance.random() < 0.7, CKPTD_RESCAN_S=chance.choice(["0.3", "3600"]))
        if chance.random() < 0.7:
            daemon.wait_ready()
            status = daemon.status()
            assert status["seq"] >= seq, "event numbers never go back"
            mark_until_dead(marker, daemon, chance.randrange(8))
            with contextlib.suppress(CkptError, OSError):
                seq = daemon.status()["seq"]
            writer.wait(chance.randrange(1, 40))
        else:
            writer.wait(chance.randrange(1, 20))
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
        assert daemon_note() is None, "a killed daemon leaves no lock"
    writer.wait(5)
    daemon = start("--watch", root)
    assert daemon.status()["seq"] >= seq
    assert not daemon.status()["problems"]
    writer.wait(10)
    writer.end()
    equals_scan(daemon, root)
    assert marker.lost(daemon) == []
    assert daemon.end() == 0
    assert not socket_path().exists()
    assert not [path for path in StatePaths.here().catalog.iterdir() if path.suffix != ".json"]
    # What it wrote at its end is what the next one starts from.
    again = start("--watch", root)
    equals_scan(again, root)
    assert marker.lost(again) == []
    assert not again.events("run.added", "run.removed", "checkpoint.gone"), "nothing changed while no daemon ran"


def test_a_daemon_killed_while_it_is_stopped_leaves_nothing_behind(
    start: Callable[..., Any],
    storm: Callable[..., Any],
    root: Path,
    equals_scan: Callable[..., None],
) -> None:
    daemon = start("--watch", root)
    writer = storm(root)
    writer.wait(20)
    daemon.process.send_signal(signal.SIGSTOP)
    writer.wait(40)
    daemon.process.kill()
    daemon.process.wait()
    assert daemon_note() is None
    writer.end()
    equals_scan(start("--watch", root), root)
