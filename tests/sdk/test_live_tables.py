"""Tables of metrics: Lightning's own, and those of other trainings as their code writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt.scan.live import curves_of, reached

Produced = Callable[[str], Path]


@pytest.mark.parametrize("version", ["version_0", "version_1"])
def test_lightnings_table_is_read_as_it_was_logged(produced: Produced, version: str) -> None:
    directory = produced("lightning_metrics")
    expected = json.loads((directory / "expected.json").read_text())["tables"][version]
    told = {name: [(step, value) for step, value in points] for name, points in expected.items()}
    assert curves_of(directory / "lightning_logs" / version, 1000) == told
    # A directory of checkpoints that is a run by itself belongs to the version that it lies in.
    assert curves_of(directory / "lightning_logs" / version / "checkpoints", 1000) == told


def test_how_far_lightning_came_is_its_last_row(produced: Produced) -> None:
    directory = produced("lightning_metrics")
    expected = json.loads((directory / "expected.json").read_text())
    found = reached(directory / "lightning_logs" / "version_0")
    assert found is not None
    assert (found.epoch, found.step) == (expected["epoch"] - 1, expected["global_step"] - 1)
    assert found.loss == expected["tables"]["version_0"]["train_loss_step"][-1][1]
    assert found.at == (directory / "lightning_logs" / "version_0" / "metrics.csv").stat().st_mtime


def test_versions_without_checkpoints_belong_to_the_run_above(tmp_path: Path) -> None:
    for version, rows in (("version_0", "0,1.0\n1,2.0\n2,3.0\n"), ("version_10", "2,9.0\n"), ("version_9", "1,5.0\n")):
        (tmp_path / "lightning_logs" / version).mkdir(parents=True)
        (tmp_path / "lightning_logs" / version / "metrics.csv").write_text("step,loss\n" + rows)
    (tmp_path / "lightning_logs" / "version_11" / "checkpoints").mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_11" / "metrics.csv").write_text("step,loss\n0,77.0\n")
    assert curves_of(tmp_path, 100) == {"loss": [(0, 1.0), (1, 5.0), (2, 9.0)]}


def test_the_log_of_the_mnist_system(tmp_path: Path) -> None:
    """Transcribed from the trainer of mnist-helloworld: one row an epoch, the checkpoints in `checkpoints/`."""
    (tmp_path / "training_log.csv").write_text(
        "epoch,train_loss,train_acc,val_loss,val_acc,best_acc,learning_rate\n"
        "1,0.52,84.1,0.31,90.2,90.2,0.001\n2,0.31,90.0,0.28,91.0,91.0,0.001\n3,0.2"
    )
    curves = curves_of(tmp_path, 100)
    assert curves["learning_rate"] == [(1, 0.001), (2, 0.001)]
    assert curves["val_acc"] == [(1, 90.2), (2, 91.0)]
    found = reached(tmp_path)
    assert found is not None and (found.epoch, found.step, found.loss) == (2, None, 0.31)


def test_the_results_of_ultralytics(tmp_path: Path) -> None:
    """Transcribed from the `save_metrics` of its trainer in 8.4.190; older versions pad names and numbers."""
    table = tmp_path / "results.csv"
    table.write_text("epoch,time,train/box_loss,metrics/mAP50(B),lr/pg0\n1,12.345,1.234,0.5,1e-05\n2,24,1.1,0.6,nan\n")
    curves = curves_of(tmp_path, 100)
    learning = curves.pop("lr/pg0")
    assert learning[0] == (1, 1e-05) and learning[1][0] == 2 and math.isnan(learning[1][1])
    expected = {"train/box_loss": [(1, 1.234), (2, 1.1)], "metrics/mAP50(B)": [(1, 0.5), (2, 0.6)]}
    assert curves == expected
    table.write_text(
        "                  epoch,                   time,         train/box_loss,         metrics/mAP50(B)\n"
        "                      1,                 12.345,                1.23400,                0.50000\n"
        "                      2,                 24.000,                1.10000,                0.60000\n"
    )
    assert curves_of(tmp_path, 100) == expected


def test_the_summary_of_timm(tmp_path: Path) -> None:
    """Transcribed from utils/summary.py of timm 1.0.31: a row with fewer columns where an epoch was not validated."""
    (tmp_path / "summary.csv").write_text(
        "epoch,train_loss,eval_loss,eval_top1,lr\r\n0,2.0,1.9,30.0,0.1\r\n1,1.5,0.1\r\n2,1.2,1.1,55.0,0.05\r\n"
        "epoch,train_loss,lr\r\n3,1.0,0.01\r\n"
    )
    curves = curves_of(tmp_path, 100)
    assert curves["train_loss"] == [(0, 2.0), (2, 1.2), (3, 1.0)]
    assert curves["lr"] == [(0, 0.1), (2, 0.05), (3, 0.01)]
    assert curves["eval_top1"] == [(0, 30.0), (2, 55.0)]


def test_the_progress_of_stable_baselines(tmp_path: Path) -> None:
    """As its CSV logger writes it, with the steps among the columns and quoted texts between them."""
    (tmp_path / "progress.csv").write_text(
        'time/total_timesteps,rollout/ep_rew_mean,note\n2048,21.5,"a, b"\n4096,,""\n6144,43.0,x\n'
    )
    assert curves_of(tmp_path, 100) == {"rollout/ep_rew_mean": [(2048, 21.5), (6144, 43.0)]}


def test_tables_of_dvclive(tmp_path: Path) -> None:
    """Transcribed from plots/metric.py of dvclive 3.49.1: a file a metric, its name the path; times where asked for."""
    metrics = tmp_path / "dvclive" / "plots" / "metrics"
    (metrics / "train").mkdir(parents=True)
    (metrics / "loss.tsv").write_text("step\tloss\n0\t0.5\n1\t0.25\n")
    (metrics / "train" / "acc.tsv").write_text("timestamp\tstep\tacc\n1700000000000\t0\t0.1\n1700000000001\t1\t0.2\n")
    expected = {"loss": [(0, 0.5), (1, 0.25)], "train/acc": [(0, 0.1), (1, 0.2)]}
    assert curves_of(tmp_path, 100) == expected
    assert curves_of(tmp_path / "dvclive", 100) == expected
    found = reached(tmp_path)
    assert found is not None and (found.step, found.loss) == (1, 0.25)


def test_scalars_of_mmengine(tmp_path: Path) -> None:
    """As its local backend writes them: validation counts epochs in the file in which training counts iterations."""
    visual = tmp_path / "20240101_120000" / "vis_data"
    visual.mkdir(parents=True)
    rows = [
        {"lr": 0.1, "data_time": 0.01, "loss": 2.0, "time": 0.1, "epoch": 1, "iter": 50, "memory": 10, "step": 50},
        {"lr": 0.1, "data_time": 0.01, "loss": 1.5, "time": 0.1, "epoch": 1, "iter": 100, "memory": 10, "step": 100},
        {"accuracy/top1": 60.0, "data_time": 0.1, "time": 0.1, "step": 1},
    ]
    (visual / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = curves_of(tmp_path, 100)
    assert curves["loss"] == [(50, 2.0), (100, 1.5)] and curves["accuracy/top1"] == [(1, 60.0)]
    assert "iter" not in curves and "epoch" not in curves and "time" not in curves
    found = reached(tmp_path)
    assert found is not None and (found.epoch, found.step, found.loss) == (1, 100, 1.5)


def test_metrics_of_detectron2(tmp_path: Path) -> None:
    """Transcribed from utils/events.py of facebookresearch/detectron2 at 0a86ad4: `JSONWriter`, a line a step."""
    (tmp_path / "metrics.json").write_text(
        '{"iteration": 19, "lr": 0.1, "total_loss": NaN}\n{"iteration": 39, "lr": 0.1, "total_loss": 1.5}\n'
        '{"bbox/AP": 40.0, "iteration": 40}\n{"iter'
    )
    curves = curves_of(tmp_path, 100)
    loss = curves["total_loss"]
    assert math.isnan(loss[0][1]) and loss[1] == (39, 1.5) and curves["bbox/AP"] == [(40, 40.0)]
    found = reached(tmp_path)
    assert found is not None and (found.epoch, found.step, found.loss) == (None, 40, 1.5)


def test_cells_that_are_odd(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(
        b"\xef\xbb\xbfStep;a;b\xff;;_x\n0;nan;1;5;1_000\n1;-inf;word;5;2\n2.0;1e400;-3;5;\n"
        b"x;1;2;3;4\n3;\x00;0x10;5;1\n1e400;1;1;1;1\n99999999999999999999;1;1;1;1\n4;7;8;9;10\n"
    )
    curves = curves_of(tmp_path, 100)
    assert [(step, str(value)) for step, value in curves["a"]] == [(0, "nan"), (1, "-inf"), (2, "inf"), (4, "7.0")]
    assert curves["b\ufffd"] == [(0, 1.0), (2, -3.0), (4, 8.0)]
    assert curves["_x"] == [(1, 2.0), (3, 1.0), (4, 10.0)] and len(curves) == 3
