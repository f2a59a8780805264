"""What data that resumes costs, and how exact it is: `python tests/bench/bench_resuming.py`. One line of JSON a row.

    overhead         microseconds a batch of 32 digits, of torch's DataLoader, torchdata's StatefulDataLoader, and
                     ResumableLoader, which take turns; what one takes more than another is the median of all rounds,
                     on the clock and in CPU time of all processes
    schedule         the same of LoaderSchedule against the two loaders by hand
    first_batch      seconds from load_state_dict to the first batch, at batch 10 and at batch 10 000 of an epoch, and
                     the ratio of both, medians of three; the data is made and the loader built before
    kills            trainings that are killed at random and go on, beside the uninterrupted: how many lines, batches
                     and bits of losses and last weights are others. `--kills N` a training (1; BENCH_FULL=1: 10)

Choose rows with `--only overhead schedule resume kills`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from resuming_data import BATCH, KINDS, Digits, StatefulSampler, StatefulStream, Stream, loader_of, random_sampler

from ckpt import LoaderSchedule

FULL = os.environ.get("BENCH_FULL") == "1"
TESTS = Path(__file__).resolve().parents[1]
NEAR, FAR = 10, 10_000
TRAININGS = ("dense", "convolving", "gpt", "mixed", "stream")
PEERLESS = ("mixed",)  # a schedule is ours alone


def say(**row: Any) -> None:
    """One line of JSON."""
    print(json.dumps({"bench": "resuming", **row}), flush=True)


def rounded(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")


# A batch


class Cost(NamedTuple):
    """Microseconds a batch."""

    wall: float
    """The first few, in which workers start, left out."""
    cpu: float
    """Of this process and its workers, their start too."""


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def per_batch(batches: Iterable[Any], skip: int = 20) -> Cost:
    """What going through an epoch costs."""
    spent = cpu_seconds()
    count, begun = 0, time.perf_counter()
    for count, _ in enumerate(batches, 1):
        if count == skip:
            begun = time.perf_counter()
    wall = (time.perf_counter() - begun) / (count - skip)
    return Cost(wall * 1e6, (cpu_seconds() - spent) / count * 1e6)


def turns(ways: dict[str, Callable[[], Iterable[Any]]], rounds: int) -> dict[str, list[Cost]]:
    """The costs of each way in every round; they take turns."""
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for turn in range(rounds):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(per_batch(ways[name]()))
    return found


def beside(found: dict[str, list[Cost]], way: str, base: str) -> dict[str, float]:
    """How much more one way takes than another: microseconds and per cent, the medians over the rounds."""
    pairs = list(zip(found[way], found[base], strict=True))
    return {
        "us": rounded(statistics.median(one.wall - other.wall for one, other in pairs)),
        "pct": rounded(100 * statistics.median(one.wall / other.wall - 1 for one, other in pairs)),
        "cpu_us": rounded(statistics.median(one.cpu - other.cpu for one, other in pairs)),
        "cpu_pct": rounded(100 * statistics.median(one.cpu / other.cpu - 1 for one, other in pairs)),
    }


def medians(found: dict[str, list[Cost]]) -> dict[str, float]:
    """Microseconds a batch of each way."""
    return {way: rounded(statistics.median(cost.wall for cost in costs)) for way, costs in found.items()}


def overhead(rounds: int, batches: int) -> None:
    """Every kind of loader over the same data."""
    for data_kind in ("map", "iterable"):
        for workers in (0, 2):
            loaders = {
                kind: loader_of(
                    kind,
                    Digits(batches * BATCH) if data_kind == "map" else StatefulStream(batches * BATCH),
                    num_workers=workers,
                    **({"shuffle": True} if data_kind == "map" else {}),
                )
                for kind in KINDS
            }
            found = turns({kind: lambda loader=loader: loader for kind, loader in loaders.items()}, rounds)  # type: ignore[misc]
            say(
                figure="overhead",
                data=data_kind,
                workers=workers,
                us=medians(found),
                ours_over_torch=beside(found, "ours", "torch"),
                torchdata_over_torch=beside(found, "torchdata", "torch"),
                ours_over_torchdata=beside(found, "ours", "torchdata"),
            )


def schedule(rounds: int, batches: int) -> None:
    """Two loaders in turn: by hand, and by a schedule."""
    first, second = (loader_of("ours", Digits(batches * BATCH // 2)) for _ in range(2))

    def by_hand() -> Iterable[Any]:
        for pair in zip(first, second, strict=True):
            yield from enumerate(pair)

    for strategy, options in (
        ("round_robin", {}),
        ("weighted", {"weights": [0.5, 0.5], "epoch_length": batches}),
        ("alternating", {}),
    ):
        plan = LoaderSchedule([first, second], strategy, **options)
        found = turns({"by_hand": by_hand, "schedule": lambda plan=plan: plan}, rounds)  # type: ignore[misc]
        say(
            figure="schedule",
            strategy=strategy,
            us=medians(found),
            over_by_hand=beside(found, "schedule", "by_hand"),
        )


# The first batch


def resumed(kind: str, make: Callable[[str], Any]) -> dict[str, float]:
    """Seconds from the state to the first batch, near the beginning of an epoch and far from it."""
    states, expected = {}, {}
    loader = make(kind)
    for count, batch in enumerate(loader, 1):
        if count - 1 in states:
            expected[count - 1] = batch
        if count in (NEAR, FAR):
            states[count] = loader.state_dict()
        if count > FAR:
            break
    times: dict[int, list[float]] = {count: [] for count in states}
    same = True
    for _ in range(3):
        for count, state in states.items():
            again = make(kind)
            begun = time.perf_counter()
            again.load_state_dict(state)
            batch = next(iter(again))
            times[count].append(time.perf_counter() - begun)
            same = same and all(torch.equal(*pair) for pair in zip(batch, expected[count], strict=True))
            del again
    near, far = (statistics.median(times[count]) for count in (NEAR, FAR))
    return {f"at_{NEAR}_s": rounded(near), f"at_{FAR}_s": rounded(far), "ratio": rounded(far / near), "same": same}


def resume() -> None:
    """Every way to know a place, with loaders of ours and of torchdata."""
    samples = (FAR + 100) * BATCH
    digits = Digits(samples)

    def sampled(kind: str) -> Any:
        return loader_of(kind, digits, sampler=random_sampler(kind, digits))

    cases: dict[str, Callable[[str], Any]] = {
        "own order": lambda kind: loader_of(kind, digits, shuffle=True),
        "own order, 2 workers": lambda kind: loader_of(kind, digits, shuffle=True, num_workers=2),
        "RandomSampler": sampled,
        "stateful sampler": lambda kind: loader_of(kind, digits, sampler=StatefulSampler(samples)),
        "stateful iterable": lambda kind: loader_of(kind, StatefulStream(samples)),
        "stateful iterable, 2 workers": lambda kind: loader_of(kind, StatefulStream(samples), num_workers=2),
        "iterable without a state": lambda kind: loader_of(kind, Stream(samples)),
    }
    for case, make in cases.items():
        for kind in ("ours", "torchdata"):
            torch.manual_seed(0)
            say(figure="first_batch", case=case, loader=kind, **resumed(kind, make))


# Kills


def kills(count: int) -> None:
    """Killed trainings of ours, of torchdata and of plain loaders, whose data begins the epoch again."""
    sys.path[:0] = [str(TESTS / "faults" / "resuming"), str(TESTS / "parts")]
    import killing

    with tempfile.TemporaryDirectory(prefix="ck-") as base:
        os.environ.update({f"CKPTD_{name}": f"{base}/{name}" for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR")})
        os.environ["CKPTD_AUTOSTART"] = "0"
        with killing.place(Path(base)) as place:
            for kind in ("ours", "torchdata", "plain"):
                for name in TRAININGS:
                    if kind != "ours" and name in PEERLESS:
                        continue
                    chance = random.Random(f"{kind} {name}")
                    found, number = killing.Comparison(), 0
                    while found.kills < count:
                        run = f"{name}-{kind}-{number}"
                        more = min(3, count - found.kills)
                        found += killing.interrupted(place, name, kind, run, more, chance)
                        number += 1
                    say(
                        figure="kills",
                        training=name,
                        loader=kind,
                        kills=found.kills,
                        lines=found.lines,
                        different_lines=len(found.different),
                        different_checkpoints=len(found.listed),
                        batches=found.batches,
                        batches_of_other_data=found.other_data,
                        bits=found.of_bits,
                        different_bits=found.bits,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    figures = ("overhead", "schedule", "resume", "kills")
    parser.add_argument("--only", nargs="+", choices=figures, default=figures)
    parser.add_argument("--rounds", type=int, default=15 if FULL else 5)
    parser.add_argument("--batches", type=int, default=2000 if FULL else 500)
    parser.add_argument("--kills", type=int, default=10 if FULL else 1, help="kills of each training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if "overhead" in arguments.only:
        overhead(arguments.rounds, arguments.batches)
    if "schedule" in arguments.only:
        schedule(arguments.rounds, arguments.batches)
    if "resume" in arguments.only:
        resume()
    if "kills" in arguments.only:
        kills(arguments.kills)


if __name__ == "__main__":
    main()
