"""Kills trainings at random moments, lets them go on, and compares all that they wrote with the uninterrupted one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ckpt import Checkpoint, Run
from forking import PATIENCE_S, forks_of

HERE = Path(__file__).parent

Line = tuple[str, str, str]
"""Kind, place (`step.number`), and hashes of what was there."""


class Place:
    """Where trainings are to be had, and the uninterrupted ones as they went."""

    def __init__(self, base: Path, address: str) -> None:
        self.base = base
        self.address = address
        self._whole: dict[tuple[str, str], Attempt] = {}

    def whole(self, name: str, kind: str) -> Attempt:
        """A training that nobody interrupts, done once."""
        if (name, kind) not in self._whole:
            attempt = Attempt(self, name, kind, f"whole-{name}-{kind}", 0)
            attempt.wait()
            self._whole[name, kind] = attempt
        return self._whole[name, kind]


@contextlib.contextmanager
def place(base: Path) -> Iterator[Place]:
    """A process that has imported torch, from which trainings are forked, as long as the block."""
    with forks_of(HERE / "training_server.py", base) as address:
        yield Place(base, address)


class Attempt:
    """One process of a training, and what it wrote down."""

    def __init__(self, at: Place, name: str, kind: str, run: str, number: int) -> None:
        self.run = at.base / run
        self.diary = at.base / f"{run}.{number}.diary"
        self.final = at.base / f"{run}.pt"
        asked = {
            "name": name,
            "kind": kind,
            "directory": str(self.run),
            "diary_path": str(self.diary),
            "final": str(self.final),
            "environment": {key: value for key, value in os.environ.items() if key.startswith("CKPTD_")},
        }
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(at.address)
        self.socket.sendall(json.dumps(asked).encode() + b"\n")
        self.says = self.socket.makefile("r")
        self.pid = int(self.says.readline())

    def lines(self) -> list[Line]:
        """What it wrote so far."""
        try:
            text = self.diary.read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            kind, where, what = line.split(" ", 2)
            found.append((kind, where, what))
        return found

    def wait(self) -> None:
        """Waits until it is done. Raises AssertionError with what it died of."""
        said = self.says.readline()
        if said != "ended":
            said += self.says.read()
        self.kill()
        assert said == "ended", said

    def kill(self) -> None:
        """SIGKILL to it and its workers, and waits until the last is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            self.says.read()
        self.says.close()
        self.socket.close()

    def killed_after(self, count: int, seconds: float) -> bool:
        """Kills it so long after it wrote so many lines; False when it was done before."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.lines()) < count and self._lives():
            assert time.monotonic() < deadline, f"{self.diary} has {len(self.lines())} lines and not {count}"
            time.sleep(0.002)
        time.sleep(seconds)
        if not self._lives() or [line[0] for line in self.lines()[-1:]] == ["end"]:
            self.wait()
            return False
        self.kill()
        # It may have come to its end meanwhile.
        return [line[0] for line in self.lines()[-1:]] != ["end"]

    def _lives(self) -> bool:
        """Whether it neither is done nor has died."""
        return not select.select([self.socket], [], [], 0)[0]


def whole_ones(run: Path) -> list[Checkpoint]:
    """The checkpoints of a training that are whole, the newest first."""
    return [one for one in Run.open(run).checkpoints() if one.state == "complete"] if run.exists() else []


def newest(run: Path) -> str:
    """The checkpoint that a training has to go on from; `-` when there is none."""
    found = whole_ones(run)
    return str(found[0].path) if found else "-"


@dataclass
class Comparison:
    """Interrupted trainings beside the uninterrupted one."""

    kills: int = 0
    lines: int = 0
    """Lines that the interrupted ones wrote."""
    different: list[str] = field(default_factory=list)
    """Those that say something else than the uninterrupted one, or at another place."""
    listed: list[str] = field(default_factory=list)
    """Checkpoints that one has at its end and the other has not, or with other figures."""
    batches: int = 0
    other_data: int = 0
    """Batches, and those whose data was not that of the uninterrupted one."""
    bits: int = 0
    """Different bits in what was compared as bits: the losses of all batches and the last weights."""
    of_bits: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.kills + other.kills,
            self.lines + other.lines,
            self.different + other.different,
            self.listed + other.listed,
            self.batches + other.batches,
            self.other_data + other.other_data,
            self.bits + other.bits,
            self.of_bits + other.of_bits,
        )


def compared(found: list[Line], whole: list[Line]) -> Comparison:
    """What one process wrote beside what the uninterrupted one wrote from there on."""
    began, *lines = found
    result = Comparison(lines=len(lines))
    if not lines:
        return result
    at = {(kind, where): number for number, (kind, where, _) in enumerate(whole)}
    start = at.get(lines[0][:2])
    if start is None or not follows(began, whole[:start]):
        result.different.append(f"went on at {lines[0]} after {began}")
    for number, line in enumerate(lines):
        expected = whole[start + number] if start is not None and start + number < len(whole) else None
        if line != expected:
            result.different.append(f"{' '.join(line)}; the uninterrupted: {' '.join(expected or ('nothing',))}")
        # Losses are compared with those of the same place, wherever they came in line.
        if line[0] in ("batch", "val"):
            result.of_bits += 32
            loss, data = line[2].split()
            same = at.get(line[:2])
            expected_loss, expected_data = whole[same][2].split() if same is not None else (None, None)
            result.batches += 1
            result.other_data += data != expected_data
            result.bits += 32 if expected_loss is None else differing(loss, expected_loss)
    return result


def follows(began: Line, before: list[Line]) -> bool:
    """Whether a training that began so may go on behind these lines: behind what was done at the step of its save."""
    if began[2] == "-" or not before:
        return began[2] == "-" and before[-1:] in ([], [("began", "0.0", "-")])
    kind, where, _ = before[-1]
    return kind in ("step", "batch", "epoch") and where.partition(".")[0] == began[1].partition(".")[0]


def differing(one: str, other: str) -> int:
    """How many bits of two hexadecimal numbers differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def listing(run: Path) -> set[str]:
    """What is listed of a training: step, epoch, loss and metrics of each of its checkpoints."""
    return {f"{one.step} {one.epoch} {one.loss!r} {one.metrics}" for one in whole_ones(run)}


def last_state(one: Attempt, other: Attempt) -> Comparison:
    """What two trainings have at their end: the weights, and the checkpoints that are kept."""
    result = differing_weights(one.final, other.final)
    found, expected = listing(one.run), listing(other.run)
    result.listed += [f"listed: {line}" for line in sorted(found - expected)]
    result.listed += [f"not listed: {line}" for line in sorted(expected - found)]
    return result


def differing_weights(one: Path, other: Path) -> Comparison:
    """The last weights of two trainings."""
    found, expected = (torch.load(path, weights_only=True) for path in (one, other))
    result = Comparison()
    for name, tensor in expected.items():
        mine, others = (
            value.contiguous().flatten().view(torch.uint8).numpy().tobytes() for value in (found[name], tensor)
        )
        result.of_bits += 8 * len(others)
        result.bits += differing(mine.hex(), others.hex())
    return result


def moment(least: int, left: int, chance: random.Random) -> tuple[int, float]:
    """When to kill: how many lines are written by then, at least so many of those that are left, and seconds later."""
    if not least and chance.random() < 0.2:  # while it begins again
        return 0, chance.uniform(0, 0.3)
    return least + chance.randint(1, max(1, left * 2 // 3)), chance.uniform(0, 0.02)


def interrupted(at: Place, name: str, kind: str, run: str, kills: int, chance: random.Random) -> Comparison:
    """One training from its beginning to its end, killed up to so many times on the way."""
    whole = at.whole(name, kind)
    expected = whole.lines()
    least = next(number for number, line in enumerate(expected) if line[:2] == ("step", "3.0"))
    result = Comparison()
    done, number = least, 0
    while True:
        last = newest(at.base / run)
        attempt = Attempt(at, name, kind, run, number)
        if result.kills < kills:
            killed = attempt.killed_after(*moment(least if number == 0 else 0, len(expected) - done, chance))
        else:
            attempt.wait()
            killed = False
        lines = attempt.lines()
        if lines:
            assert lines[0][0] == "began" and lines[0][2] == last, (lines[0], last)
            result += compared(lines, expected)
            places = [where for where, line in enumerate(expected) if line[:2] == lines[-1][:2]]
            done = places[-1] if places else done
        if not killed:
            return result + last_state(attempt, whole)
        result.kills += 1
        number += 1
