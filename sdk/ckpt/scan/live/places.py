"""Where trainings write their metrics, seen from the directory of a run. Looks at names only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from ckpt.formats.suffixes import may_be_file
from ckpt.scan.finding import CHECKPOINT_DIRECTORIES

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
_LOG_DEPTH = 3  # directories below one for logs
_EVENTS = "events.out.tfevents."
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "eval", "test"})
_VERSION = re.compile(r"version_(\d{1,9})$")
_STAMP = re.compile(r"\d{8}_\d{6}$")
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})$")


class Look:
    """One look at the directory of a run: what was listed for one source is not listed again for another."""

    def __init__(self, directory: str) -> None:
        self.top = directory
        self._below = os.path.join(directory, "")
        self._names: dict[str, list[str]] = {}

    def names(self, directory: str) -> list[str]:
        """What a directory holds, sorted; nothing where it cannot be listed. Links to directories are not followed."""
        known = self._names.get(directory)
        if known is None:
            known = self._names[directory] = _listed(directory) if self._may_exist(directory) else []
        return known

    def existing(self, paths: Iterable[str]) -> list[str]:
        """The paths that are files; links to files are followed."""
        return [path for path in paths if self._may_exist(path) and os.path.isfile(path)]

    def _may_exist(self, path: str) -> bool:
        """False for what lies below the run's directory under a name that is not listed there."""
        if not path.startswith(self._below):
            return True
        return path[len(self._below) :].partition(os.sep)[0] in self._here

    @cached_property
    def _here(self) -> frozenset[str]:
        return frozenset(self.names(self.top))


def _listed(directory: str) -> list[str]:
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


def states(look: Look) -> list[str]:
    """The emitted states of a run of the SDK."""
    return look.existing([os.path.join(look.top, "states.jsonl")])


def trainer_states(look: Look) -> list[str]:
    """The `trainer_state.json` files of a Hugging Face run: its own, and those of its checkpoints by their steps."""
    found = [(int(m[1]), name) for name in look.names(look.top) if (m := _CHECKPOINT.match(name)) is not None]
    inside = [os.path.join(look.top, name, "trainer_state.json") for _, name in sorted(found)]
    return look.existing([*inside[-FILES_MAX:], os.path.join(look.top, "trainer_state.json")])


def lightning_tables(look: Look) -> list[str]:
    """`metrics.csv` of the version that a run is, or of those without checkpoints of their own that it wrote."""
    above = os.path.dirname(look.top)
    if _VERSION.match(os.path.basename(above)):
        return look.existing([os.path.join(above, "metrics.csv")])
    return look.existing(os.path.join(version, "metrics.csv") for version in _versions(look))


def table(look: Look, name: str) -> list[str]:
    """A table of that name in the run directory itself."""
    return look.existing([os.path.join(look.top, name)])


def json_lines(look: Look) -> list[str]:
    """`metrics.json` and `metrics.jsonl`, an object a line."""
    return look.existing(os.path.join(look.top, name) for name in ("metrics.json", "metrics.jsonl"))


def dvclive_tables(look: Look) -> list[tuple[str, str]]:
    """DVCLive's tables, each with the name of its metric."""
    for base in ("dvclive/plots/metrics", "plots/metrics"):
        top = os.path.join(look.top, base)
        found = [path for path in _below(look, top) if path.endswith(".tsv")]
        if found:
            return [(path, os.path.relpath(path, top)[: -len(".tsv")].replace(os.sep, "/")) for path in found]
    return []


def mmengine_scalars(look: Look) -> list[str]:
    """`scalars.json` of every start of an MMEngine run, by the time in its name."""
    stamps = sorted(name for name in look.names(look.top) if _STAMP.match(name))[-FILES_MAX:]
    inside = [os.path.join(look.top, stamp, "vis_data", "scalars.json") for stamp in stamps]
    return look.existing([*inside, os.path.join(look.top, "vis_data", "scalars.json")])


def event_files(look: Look) -> list[tuple[str, str]]:
    """TensorBoard's files by the time in their names, each with what is put before its tags, as `validation/`."""
    found: list[tuple[str, str]] = []
    for place, prefix in islice(_log_places(look), FILES_MAX):
        for name in look.names(place):
            if name.startswith(_EVENTS):
                found.append((os.path.join(place, name), prefix))
    found.sort(key=lambda item: (_in_numbers(os.path.basename(item[0])), item[0]))
    return found[-FILES_MAX:]


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """A name by which files sort as their numbers do: time, process, count."""
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (0, part) for part in name.split(".")]


def _log_places(look: Look) -> Iterator[tuple[str, str]]:
    yield look.top, ""
    above = os.path.dirname(look.top)
    if _VERSION.match(os.path.basename(above)):
        yield above, ""
    here = set(look.names(look.top))
    for part in sorted(_PARTS & here):
        yield os.path.join(look.top, part), f"{part}/"
    pending = [(os.path.join(look.top, log), 0) for log in _LOG_DIRECTORIES if log in here]
    while pending:
        place, depth = pending.pop(0)
        inside = look.names(place)
        if depth and _is_run(inside):
            continue
        part = os.path.basename(place)
        yield place, f"{part}/" if part in _PARTS else ""
        if depth < _LOG_DEPTH:
            pending += [(os.path.join(place, name), depth + 1) for name in inside if not name.startswith(_EVENTS)]


def _is_run(inside: Sequence[str]) -> bool:
    """Whether a directory with these names in it is a run of its own."""
    return any(
        name.lower() in CHECKPOINT_DIRECTORIES or may_be_file(name) or _CHECKPOINT.match(name) for name in inside
    )


def _versions(look: Look) -> list[str]:
    """Lightning's version directories below a run that are no runs themselves, by their numbers."""
    top = os.path.join(look.top, "lightning_logs")
    found = [(int(m[1]), name) for name in look.names(top) if (m := _VERSION.match(name)) is not None]
    paths = [os.path.join(top, name) for _, name in sorted(found)[-FILES_MAX:]]
    return [path for path in paths if not _is_run(look.names(path))]


def _below(look: Look, top: str) -> list[str]:
    found: list[str] = []
    pending = [(top, 0)]
    while pending and len(found) < FILES_MAX:
        directory, depth = pending.pop()
        for name in look.names(directory):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                found.append(path)
            elif depth < _DEPTH_MAX and len(pending) < FILES_MAX:
                pending.append((path, depth + 1))
    return sorted(found)[:FILES_MAX]
