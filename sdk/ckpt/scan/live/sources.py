"""The sources of a run's metrics, in the order in which they win.

A metric that several of them tell is taken from the first. What a framework writes for itself comes before tables of
known names, and TensorBoard comes last, because trainings write it beside their own and with other names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ckpt.scan.live import places
from ckpt.scan.live.forms.event_files import EventFile
from ckpt.scan.live.forms.form import Form
from ckpt.scan.live.forms.lines import JsonRows, Lines, States, Table
from ckpt.scan.live.forms.log_history import LogHistory
from ckpt.scan.live.histories import newest
from ckpt.scan.live.places import Look


@dataclass(frozen=True, slots=True)
class Written:
    """A file of metrics and the form in which it is written."""

    path: str
    form: Callable[[], Form]


@dataclass(frozen=True, slots=True)
class Source:
    """A way of writing metrics. `files` gives those of a run in the order in which they follow each other.

    `together`: whether a row that goes back abandons the later points of every metric, or only those of its own.
    """

    name: str
    files: Callable[[Look], list[Written]]
    together: bool = True
    beside: bool = False
    """Whether its files lie beside each other, a metric each, rather than one after the other in time."""


def _in(form: Callable[[], Form], paths: Callable[[Look], list[str]]) -> Callable[[Look], list[Written]]:
    return lambda look: [Written(path, form) for path in paths(look)]


def _table() -> Form:
    return Lines(Table())


def _json_rows() -> Form:
    return Lines(JsonRows())


def _states() -> Form:
    return Lines(States())


def _one_metric(name: str) -> Form:
    return Lines(Table(name=name))


def _newest_history(look: Look) -> list[Written]:
    return [Written(path, LogHistory) for path in newest(places.trainer_states(look))]


def _dvclive(look: Look) -> list[Written]:
    return [Written(path, partial(_one_metric, name)) for path, name in places.dvclive_tables(look)]


def _tensorboard(look: Look) -> list[Written]:
    return [Written(path, partial(EventFile, prefix)) for path, prefix in places.event_files(look)]


SOURCES: tuple[Source, ...] = (
    Source("ckpt", _in(_states, places.states)),
    Source("transformers", _newest_history),
    Source("lightning", _in(_table, places.lightning_tables)),
    Source("dvclive", _dvclive, together=False, beside=True),
    # MMEngine's validation counts epochs where its training counts iterations, in one file.
    Source("mmengine", _in(_json_rows, places.mmengine_scalars), together=False),
    *(Source(name, _in(_table, partial(places.table, name=name))) for name in places.TABLES),
    Source("json lines", _in(_json_rows, places.json_lines), together=False),
    Source("tensorboard", _tensorboard, together=False),
)
