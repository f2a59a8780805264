"""The log history of Hugging Face's Trainer: that of its own files, and which of several files tells it."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckpt.scan.live import curves_of, reached

Entry = dict[str, Any]


def write(path: Path, entries: list[Entry], *, at: float | None = None, **more: Any) -> None:
    """A state as the Trainer writes it: indented, keys sorted, NaN as a bare word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "best_metric": None,
        "epoch": 1.0,
        "global_step": entries[-1]["step"] if entries else 0,
        "is_world_process_zero": True,
        "log_history": entries,
        "stateful_callbacks": {"TrainerControl": {"args": {"should_log": False}, "attributes": {}}},
        **more,
    }
    path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")
    if at is not None:
        os.utime(path, (at, at))


def losses(steps: range, base: float = 0.0) -> list[Entry]:
    return [{"epoch": step / 10, "loss": base + step, "step": step} for step in steps]


def test_the_trainers_own_history(produced: Callable[[str], Path]) -> None:
    directory = produced("transformers") / "best"
    state = json.loads((directory / "trainer_state.json").read_text())
    expected: dict[str, list[tuple[int, float]]] = {}
    for entry in state["log_history"]:
        for name, value in entry.items():
            if name not in ("step", "epoch", "total_flos"):
                expected.setdefault(name, []).append((entry["step"], value))
    assert {"loss", "eval_loss", "learning_rate", "grad_norm"} <= set(expected)
    assert curves_of(directory, 1000) == expected
    found = reached(directory)
    assert found is not None and found.step == state["global_step"] and found.epoch == state["epoch"]
    assert found.loss == expected["loss"][-1][1]


def test_the_history_of_its_newest_checkpoint(produced: Callable[[str], Path], tmp_path: Path) -> None:
    source = produced("transformers") / "best"
    numbers = []
    for path in source.glob("checkpoint-*"):
        (tmp_path / path.name).mkdir()
        shutil.copyfile(path / "trainer_state.json", tmp_path / path.name / "trainer_state.json")
        numbers.append(int(path.name.split("-")[1]))
    curves = curves_of(tmp_path, 1000)
    assert curves["loss"][-1][0] == max(numbers) and len(numbers) > 1


def test_a_copied_directory_whose_times_say_nothing(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-1000" / "trainer_state.json", losses(range(100, 1001, 100)), at=1000.0)
    write(tmp_path / "checkpoint-500" / "trainer_state.json", losses(range(100, 501, 100)), at=2000.0)
    assert [step for step, _ in curves_of(tmp_path, 100)["loss"]] == list(range(100, 1001, 100))


def test_a_resumed_training_that_went_back(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-1000" / "trainer_state.json", losses(range(100, 1001, 100)), at=1000.0)
    again = [*losses(range(100, 501, 100)), *losses(range(600, 701, 100), base=0.5)]
    write(tmp_path / "checkpoint-700" / "trainer_state.json", again, at=2000.0)
    assert curves_of(tmp_path, 100)["loss"][-2:] == [(600, 600.5), (700, 700.5)]


def test_a_state_that_is_being_written_does_not_hide_the_one_before(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-5" / "trainer_state.json", losses(range(1, 6)), at=1000.0)
    (tmp_path / "checkpoint-10").mkdir()
    assert len(curves_of(tmp_path, 100)["loss"]) == 5
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text("")
    assert len(curves_of(tmp_path, 100)["loss"]) == 5


def test_a_state_cut_anywhere_gives_whole_entries_only(tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "trainer_state.json"
    write(whole, [*losses(range(1, 6)), {"eval_loss": math.nan, "step": 5, "epoch": 0.5}])
    raw = whole.read_bytes()
    cut = tmp_path / "cut" / "trainer_state.json"
    cut.parent.mkdir()
    told = [(step, float(step)) for step in range(1, 6)]
    for length in range(0, len(raw), 3):
        cut.write_bytes(raw[:length])
        curve = curves_of(cut.parent, 100).get("loss", [])
        assert curve == told[: len(curve)], length
    assert math.isnan(curves_of(whole.parent, 100)["eval_loss"][0][1])


def test_a_history_larger_than_what_is_held_at_once(tmp_path: Path) -> None:
    write(tmp_path / "trainer_state.json", losses(range(20_000)))
    assert (tmp_path / "trainer_state.json").stat().st_size > 1 << 20
    curve = curves_of(tmp_path, 100_000)["loss"]
    assert curve == [(step, float(step)) for step in range(20_000)]
    found = reached(tmp_path)
    assert found is not None and (found.step, found.loss) == (19_999, 19_999.0)


def test_other_documents_hold_no_history(tmp_path: Path) -> None:
    for text in ("{}", "[]", '{"log_history": 3}', '{"log_history": [3, {"step": 1, "loss": 2}]}', "[" * 100_000,
                 '{"log_history": [' + '{"a":' * 100_000, '{"log_history": [{"step": true, "loss": 1}]}'):  # fmt: skip
        (tmp_path / "trainer_state.json").write_text(text)
        assert curves_of(tmp_path, 100) == {}
        reached(tmp_path)
