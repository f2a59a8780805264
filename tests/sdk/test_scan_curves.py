"""The curves of a run: from which of its files they come, and what is shown where it writes none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import scan
from ckpt.files import append_json
from ckpt.paths import RunPaths
from ckpt.scan.live.sources import SOURCES


def test_the_first_source_wins_for_each_metric(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text('{"log_history": [{"step": 2, "loss": 1}]}')
    (tmp_path / "metrics.csv").write_text("step,loss,acc\n3,2,2\n")
    (tmp_path / "results.csv").write_text("epoch,acc,map\n4,3,3\n")
    assert scan.curves(tmp_path) == {"loss": [(2, 1.0)], "acc": [(3, 2.0)], "map": [(4, 3.0)]}


def test_the_order_of_the_sources_is_fixed() -> None:
    names = [source.name for source in SOURCES]
    assert names[:5] == ["ckpt", "transformers", "lightning", "dvclive", "mmengine"]
    assert names[-1] == "tensorboard" and names.index("metrics.csv") < names.index("results.csv")
    assert len(set(names)) == len(names)


def test_the_states_of_an_own_run_win_over_its_table(runs: Any) -> None:
    directory = runs.run(checkpoints=1)
    append_json(RunPaths(directory).states, {"global_step": 5, "loss": 0.5, "metrics": {"acc": 1}}, sync=False)
    (directory / "metrics.csv").write_text("global_step,loss\n5,0.25\n")
    assert scan.curves(directory) == {"loss": [(5, 0.5)], "acc": [(5, 1.0)]}


def test_a_run_without_metrics_shows_those_of_its_checkpoints(runs: Any, tmp_path: Path) -> None:
    assert scan.curves(runs.run(checkpoints=3))["loss"] == [(10, 0.9), (20, 0.8), (30, 0.7)]
    for step, at in ((30, 1000.0), (10, 3000.0), (20, 2000.0)):
        path = tmp_path / "foreign" / f"step_{step}.pt"
        path.parent.mkdir(exist_ok=True)
        torch.save({"model_state_dict": {"w": torch.ones(2)}, "global_step": step, "loss": step / 10}, path)
        os.utime(path, (at, at))
    assert scan.curves(tmp_path / "foreign")["loss"] == [(10, 1.0), (20, 2.0), (30, 3.0)]


def test_every_point_comes_when_as_many_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n" + "".join(f"{n},{n}\n" for n in range(5_000)))
    assert scan.curves(tmp_path, points=sys.maxsize)["loss"] == [(n, float(n)) for n in range(5_000)]
    thinned = scan.curves(tmp_path, points=100)["loss"]
    assert len(thinned) <= 101 and thinned[0] == (0, 0.0) and thinned[-1] == (4_999, 4_999.0)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan.curves(tmp_path / "missing")


def test_a_link_to_a_run_shows_the_same(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").write_text('{"log_history": [{"step": 2, "loss": 1}]}')
    (tmp_path / "link").symlink_to("run")
    assert scan.curves(tmp_path / "link") == {"loss": [(2, 1.0)]}


def test_reading_metrics_loads_no_framework(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.x").write_bytes(b"x" * 40)
    code = (
        "import sys; from pathlib import Path; from ckpt import scan; scan.curves(Path(sys.argv[1]));"
        "print(sorted({'torch', 'numpy', 'tensorboard', 'google.protobuf', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
