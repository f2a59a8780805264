"""Where trainings write their metrics, seen from the directory of a run. Looks at names only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice

FILES_MAX = 200
"""Files of one kind that are looked at for one run."""
_ENTRIES_MAX = 20_000
_DEPTH_MAX = 6

TABLES = (
    "metrics.csv",
    "training_log.csv",
    "results.csv",
    "summary.csv",
    "progress.csv",
    "history.csv",
    "train_log.csv",
    "log.csv",
)
"""Names of tables that lie in the run directory, the best known first."""
_LOG_DIRECTORIES = (
    "runs",
    "logs",
    "log",
    "tb",
    "tb_logs",
    "tensorboard",
    "tensorboard_logs",
    "tensorboard_log",
    "lightning_logs",
    "events",
)
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "eval", "test"})
_VERSION = re.compile(r"version_(\d{1,9})$")
_STAMP = re.compile(r"\d{8}_\d{6}$")
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})$")


def states(directory: str) -> list[str]:
    """The emitted states of a run of the SDK."""
    return existing([os.path.join(directory, "states.jsonl")])


def trainer_states(directory: str) -> list[str]:
    """The `trainer_state.json` files of a Hugging Face run: its own, and those of its checkpoints by their steps."""
    found = [(int(m[1]), name) for name in names(directory) if (m := _CHECKPOINT.match(name)) is not None]
    inside = [os.path.join(directory, name, "trainer_state.json") for _, name in sorted(found)]
    return existing([*inside[-FILES_MAX:], os.path.join(directory, "trainer_state.json")])


def lightning_tables(directory: str) -> list[str]:
    """`metrics.csv` of the version that a run is, or of those without checkpoints of their own that it wrote."""
    above = os.path.dirname(directory)
    if _VERSION.match(os.path.basename(above)):
        return existing([os.path.join(above, "metrics.csv")])
    return existing(os.path.join(version, "metrics.csv") for version in _versions(directory))


def table(directory: str, name: str) -> list[str]:
    """A table of that name in the run directory itself."""
    return existing([os.path.join(directory, name)])


def json_lines(directory: str) -> list[str]:
    """`metrics.json` and `metrics.jsonl`, an object a line."""
    return existing(os.path.join(directory, name) for name in ("metrics.json", "metrics.jsonl"))


def dvclive_tables(directory: str) -> list[tuple[str, str]]:
    """DVCLive's tables, each with the name of its metric."""
    for base in ("dvclive/plots/metrics", "plots/metrics"):
        top = os.path.join(directory, base)
        found = [path for path in _below(top) if path.endswith(".tsv")]
        if found:
            return [(path, os.path.relpath(path, top)[: -len(".tsv")].replace(os.sep, "/")) for path in found]
    return []


def mmengine_scalars(directory: str) -> list[str]:
    """`scalars.json` of every start of an MMEngine run, by the time in its name."""
    stamps = sorted(name for name in names(directory) if _STAMP.match(name))[-FILES_MAX:]
    inside = [os.path.join(directory, stamp, "vis_data", "scalars.json") for stamp in stamps]
    return existing([*inside, os.path.join(directory, "vis_data", "scalars.json")])


def event_files(directory: str) -> list[tuple[str, str]]:
    """TensorBoard's files by the time in their names, each with what is put before its tags, as `validation/`."""
    found: list[tuple[str, str]] = []
    for place, prefix in islice(_log_places(directory), FILES_MAX):
        for name in names(place):
            if name.startswith("events.out.tfevents."):
                found.append((os.path.join(place, name), prefix))
    found.sort(key=lambda item: (_in_numbers(os.path.basename(item[0])), item[0]))
    return found[-FILES_MAX:]


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """A name by which files sort as their numbers do: time, process, count."""
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (0, part) for part in name.split(".")]


def _log_places(directory: str) -> Iterator[tuple[str, str]]:
    yield directory, ""
    above = os.path.dirname(directory)
    if _VERSION.match(os.path.basename(above)):
        yield above, ""
    here = set(names(directory))
    for part in sorted(_PARTS & here):
        yield os.path.join(directory, part), f"{part}/"
    versions = _versions(directory)
    for log in _LOG_DIRECTORIES:
        if log not in here:
            continue
        top = os.path.join(directory, log)
        yield top, ""
        for name in names(top):
            inside = os.path.join(top, name)
            if name in _PARTS:
                yield inside, f"{name}/"
            elif _VERSION.match(name) is None or inside in versions:
                yield inside, ""
                for part in sorted(_PARTS.intersection(names(inside))):
                    yield os.path.join(inside, part), f"{part}/"


def _versions(directory: str) -> list[str]:
    """Lightning's version directories below a run that hold no checkpoints, and so are no runs, by their numbers."""
    top = os.path.join(directory, "lightning_logs")
    found = [(int(m[1]), name) for name in names(top) if (m := _VERSION.match(name)) is not None]
    paths = [os.path.join(top, name) for _, name in sorted(found)[-FILES_MAX:]]
    return [path for path in paths if not os.path.isdir(os.path.join(path, "checkpoints"))]


def names(directory: str) -> list[str]:
    """What a directory holds, sorted; nothing where it cannot be listed. Links to directories are not followed."""
    found: list[str] = []
    if os.path.islink(directory):
        return found
    try:
        with os.scandir(directory) as listing:
            for entry in listing:
                found.append(entry.name)
                if len(found) >= _ENTRIES_MAX:
                    break
    except OSError:
        return []
    return sorted(found)


def existing(paths: Iterable[str]) -> list[str]:
    """The paths that are files; links to files are followed."""
    return [path for path in paths if os.path.isfile(path)]


def _below(top: str) -> list[str]:
    found: list[str] = []
    pending = [(top, 0)]
    while pending and len(found) < FILES_MAX:
        directory, depth = pending.pop()
        for name in names(directory):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                found.append(path)
            elif depth < _DEPTH_MAX and len(pending) < FILES_MAX:
                pending.append((path, depth + 1))
    return sorted(found)[:FILES_MAX]
