"""What some frameworks keep in a way that a place alone does not tell: one small function for each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from ckpt.formats import dtypes
from ckpt.formats.meanings.layout import Mode, Told
from ckpt.formats.meanings.names import from_name
from ckpt.formats.meanings.places import at, fields_of, names_in
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import NumpyArray

_MAX_ENTRIES = 500
_MAX_NAME = 200
_MODE = re.compile(r"'mode': '(min|max)'")
_LIGHTNING_PATHS = ("best_model_path", "last_model_path")
_LATEST_SCORES = 16


def lightning(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """The checkpoint callbacks: what each monitors, which way, its score, and the files that it still keeps.

    The way stands in the callback's key alone. The first callback that monitors something gives the file's monitor;
    one that only stops early does where no checkpoint callback has one. Lists of callbacks that monitor something else
    have that in their key: `best_k_models[val_acc]`; `kth_best_model_path`, likewise, is the worst of such a list where
    the list has all that the callback keeps.
    """
    told = Told()
    kept: dict[str, dict[str, None]] = {name: {} for name in ("best_model_path", "best_k_models", "last_model_path")}
    worst: dict[str, tuple[str, ...]] = {}
    stopping: tuple[str, Mode | None] | None = None
    for key, state in _entries(at(top, "callbacks")):
        fields = fields_of(state) or {}
        if "current_score" not in fields:
            if key.startswith("EarlyStopping{") and stopping is None:
                named = re.search(r"'monitor': '([^']{1,200})'", key)
                stopping = (named[1], _mode(key)) if named else None
            continue
        for name in _LIGHTNING_PATHS:
            kept[name].update(dict.fromkeys(names_in(fields.get(name))))
        monitor = fields.get("monitor")
        monitor = monitor[:_MAX_NAME] if type(monitor) is str else ""
        mode = _mode(key) or _mode(f"'mode': '{fields.get('mode')}'")
        if monitor and told.monitor is None:
            told.monitor, told.mode = monitor, mode
        of = f"[{monitor}]" if monitor and monitor != told.monitor else ""
        listed = names_in(fields.get("best_k_models"))
        if listed:
            # Of two callbacks under one key nobody could tell whose list it is.
            worst[of] = () if kept.get(f"best_k_models{of}") else _kth(fields, mode, scalars)
            kept.setdefault(f"best_k_models{of}", {}).update(dict.fromkeys(listed))
        if not monitor:
            continue
        score = scalars.number(fields.get("current_score"))
        if score is not None and not _earlier(score, fields, top, scalars):
            told.metrics.setdefault(monitor, float(score))
    if told.monitor is None and stopping is not None:
        told.monitor, told.mode = stopping
    told.references = {name: tuple(paths) for name, paths in kept.items() if paths}
    told.references |= {f"kth_best_model_path{of}": path for of, path in worst.items() if path}
    return told


def _kth(fields: Mapping[Any, Any], mode: Mode | None, scalars: Scalars) -> tuple[str, ...]:
    """The path that a callback notes for its worst when its list is full; none where it is of an earlier list.

    A training that is resumed with a higher `save_top_k` still has the path of the shorter list until it is full again.
    """
    kept, named = fields_of(fields.get("best_k_models")) or {}, names_in(fields.get("kth_best_model_path"))
    if len(named) != 1 or named[0] not in kept or mode is None:
        return ()
    score = scalars.number(kept[named[0]])
    if score is None:
        return ()
    for other in list(kept)[-_LATEST_SCORES:]:
        number = scalars.number(kept[other])
        if number is not None and (number > score if mode == "min" else number < score):
            return ()
    return named


def _earlier(score: float, fields: Mapping[Any, Any], top: Mapping[Any, Any], scalars: Scalars) -> bool:
    """Whether a callback's score is that of another file, saved before this one, by the name that it gave that file.

    A callback notes a score only when it is among its best; what is saved later still holds the old one.
    """
    for name, kept in _entries(fields.get("best_k_models")):
        if scalars.number(kept) == score:
            named = from_name(name.rpartition("/")[2], "lightning")
            told = ((named.step, top.get("global_step")), (named.epoch, top.get("epoch")))
            return any(there is not None and there != here for there, here in told)
    return False


def _mode(key: str) -> Mode | None:
    found = _MODE.findall(key[:4096])
    return found[-1] if found else None


def ignite(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """The engine counts iterations; its epochs are those over the length of one."""
    told = Told()
    engine = next((fields for _, state in _entries(top) if "epoch_length" in (fields := fields_of(state) or {})), {})
    iteration, length = scalars.number(engine.get("iteration")), scalars.number(engine.get("epoch_length"))
    if iteration is not None and length and math.isfinite(iteration) and 0 < length < math.inf:
        whole, rest = divmod(iteration, length)
        told.epoch = float(whole) if not rest else iteration / length
    saved = names_in(at(top, "checkpointer._saved"))
    if saved:
        told.references = {"saved": saved}
    return told


def composer(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """Metrics are objects or their states by name, those of an evaluation once more by its label."""
    told = Told()
    for name, metric in _entries(at(top, "state.train_metrics")):
        _computed(told, f"metrics/train/{name}", metric, scalars)
    for label, metrics in _entries(at(top, "state.eval_metrics")):
        for name, metric in _entries(metrics):
            _computed(told, f"metrics/{label}/{name}", metric, scalars)
    return told


def _computed(told: Told, name: str, metric: Any, scalars: Scalars) -> None:
    number = scalars.number((fields_of(metric) or {}).get("_computed"))
    if number is not None and len(told.metrics) < _MAX_ENTRIES:
        told.metrics[name[:_MAX_NAME]] = float(number)


def timm(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """`metric` is the one that the arguments name, or the training's loss where nothing was validated.

    The saver's list goes from better to worse. Without one everything but a loss counts as better when it is higher.
    """
    name = at(top, "args.eval_metric")
    kept = at(top, "saver.checkpoint_files")
    ranks = [scalars.number(at(entry, "1")) for entry in kept[:_MAX_ENTRIES]] if type(kept) is list else []
    told = Told()
    if "metric" in top:
        told.monitor = "metric"
        told.mode = None if type(name) is not str else "min" if name == "loss" else "max"
        ranked = [rank for rank in ranks if rank is not None and math.isfinite(rank)]
        if ranked and ranked[0] != ranked[-1]:
            told.mode = "max" if ranked[0] > ranked[-1] else "min"
        if _displaces(top, ranks, told.mode, scalars):
            kept = kept[:-1]
    told.references = _references({"checkpoint_files": kept})
    return told


def _displaces(top: Mapping[Any, Any], ranks: list[int | float | None], mode: Mode | None, scalars: Scalars) -> bool:
    """Whether this file takes the place of the worst one, which timm's saver removes after it wrote the list."""
    most, metric = scalars.number(at(top, "args.checkpoint_hist")), scalars.number(top["metric"])
    if not ranks or most is None or len(ranks) < most or metric is None:
        return False
    worst = ranks[-1]
    return worst is None or (metric > worst if mode == "max" else metric < worst)


def fairseq(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """`val_loss` is the value of whatever metric decides what is best, whichever way that goes.

    At the end of an epoch the iterator already stands at the start of the next one; the file is of the one that ended.
    """
    told = Told()
    iterator = fields_of(at(top, "extra_state.train_iterator")) or {}
    epoch, done = scalars.number(iterator.get("epoch")), scalars.number(iterator.get("iterations_in_epoch"))
    if epoch is not None and epoch > 1 and done == 0:
        told.epoch = float(epoch - 1)
    for place in ("cfg.checkpoint.maximize_best_checkpoint_metric", "args.maximize_best_checkpoint_metric"):
        greater = at(top, place)
        if type(greater) is bool:
            told.monitor, told.mode = "val_loss", "max" if greater else "min"
            break
    return told


def mmengine(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """The hub's facts, or mmcv's messages of hooks, name the best scores so far and their files.

    The hub's histories end with the newest training values.

    Values of the validation are older than the weights in a file that was saved before it, so they are left out.
    """
    told = Told()
    files: dict[str, Any] = {}
    for key, value in chain(_entries(at(top, "message_hub.runtime_info")), _entries(at(top, "meta.hook_msgs"))):
        if key.startswith("best_score"):
            number = _scalar(value, scalars)
            if number is not None:
                told.metrics[key[:_MAX_NAME]] = number
        elif key.startswith("best_ckpt") or key == "last_ckpt":
            files[key[:_MAX_NAME]] = value
    told.references = _references(files)
    for key, history in _entries(at(top, "message_hub.log_scalars")):
        if key.startswith("train/") and key not in ("train/time", "train/data_time", "train/memory"):
            number = _last(at(history, "_log_history"))
            if number is not None:
                told.metrics.setdefault(key[:_MAX_NAME], number)
    return told


def deepspeed(top: Mapping[Any, Any], scalars: Scalars) -> Told:
    """A rank knows how many copies of the data and parts of the model there were."""
    told = Told()
    data, model = (scalars.number(top.get(key)) for key in ("dp_world_size", "mp_world_size"))
    if type(data) is int and data > 0:
        told.topology["data_parallel"] = data
        if type(model) is int and model > 0:
            told.topology = {"world_size": data * model, "data_parallel": data, "tensor_parallel": model}
    return told


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Text keys and values of a mapping, the first few hundred."""
    for key, item in islice((fields_of(value) or {}).items(), _MAX_ENTRIES):
        if type(key) is str:
            yield key, item


def _references(files: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: names for key, value in files.items() if (names := names_in(value))}


def _scalar(value: Any, scalars: Scalars) -> float | None:
    number = scalars.number(value)
    return float(number) if number is not None else _last(value)


def _last(value: Any) -> float | None:
    """The last item of a list of numbers that numpy keeps."""
    if type(value) is not NumpyArray or value.dtype is None:
        return None
    dtype = dtypes.numpy_dtype(value.dtype.code)
    width = dtypes.ITEM_BYTES.get(dtype, 0)
    if not 0 < width <= len(value.data):
        return None
    found = dtypes.decode_items(value.data[-width:], dtype, big_endian=value.dtype.big_endian)
    return float(found[0]) if found and not isinstance(found[0], bool | complex) else None
