"""Whatever lies where metrics are looked for: an answer, within bounds, and no exception."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ckpt.scan.live import curves_of, reached, reading
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.places import FILES_MAX, TABLES
from ckpt.scan.live.rows import MAX_METRICS

NAMES = [
    "states.jsonl",
    "trainer_state.json",
    "checkpoint-5/trainer_state.json",
    "lightning_logs/version_0/metrics.csv",
    "dvclive/plots/metrics/loss.tsv",
    "20240101_120000/vis_data/scalars.json",
    "metrics.json",
    "events.out.tfevents.1.host",
    "runs/a/events.out.tfevents.1.host",
    *TABLES,
]


def bounded(directory: Path, code: str) -> str:
    """Runs code with `directory` in a process of 400 MB and 60 seconds."""
    script = f"""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        from pathlib import Path
        from ckpt.scan.live import curves_of, reached
        directory = Path(sys.argv[1])
        {code}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(directory)], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_anything_in_the_place_of_metrics_is_an_answer(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(name)
    contents = [
        b"",
        b"\n",
        b"\x00" * 5000,
        b"\xff\xfe\n" * 100,
        chance.randbytes(20_000),
        b"step,loss\n" + chance.randbytes(5000),
        b'step,"loss\n1,"2\n"3,4\n',
        b"step\n1\n2\n",
        b"step,step,loss,loss\n1,2,3,4\n",
        b"," * 70_000 + b"\n1,2\n",
        b"loss\n" * 1000,
        b"{" * 100_000 + b"\n",
        b'{"step": 1' + b"0" * 5000 + b', "loss": 1}\n',
        b'{"global_step": 1e400, "step": 1e999, "loss": 2}\n',
        b'{"step": 3, "iteration": 3, "global_step": 3, "loss": 1' + b"0" * 400 + b"}\n",
        b'{"step": 3, "global_step": 3, "loss": {"a": 1}, "metrics": [1], "": 3, "\\ud800": 4, "\\u001b[31m": 5}\n',
        b"step,\x1b[2J,\xff\n1,2,3\n",
        b'{"log_history": [{"step": 1, "loss": NaN}, {"step": -1, "loss": -Infinity}]}',
    ]
    for content in contents:
        path.write_bytes(content)
        for metric, curve in curves_of(tmp_path, 100).items():
            assert metric.isprintable()
            assert all(type(step) is int and type(value) is float for step, value in curve)
        reached(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_is_passed_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir(parents=True)
    assert curves_of(tmp_path, 100) == {} and reached(tmp_path) is None
    path.rmdir()
    os.mkfifo(path)
    assert curves_of(tmp_path, 100) == {} and reached(tmp_path) is None
    path.unlink()
    path.symlink_to(path.name)
    assert curves_of(tmp_path, 100) == {} and reached(tmp_path) is None
    path.unlink()
    path.symlink_to("/dev/zero")
    assert curves_of(tmp_path, 100) == {} and reached(tmp_path) is None


def test_links_in_a_circle_between_directories_end(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path)
    metrics = tmp_path / "dvclive" / "plots" / "metrics"
    metrics.mkdir(parents=True)
    (metrics / "again").symlink_to(metrics)
    (metrics / "loss.tsv").write_text("step\tloss\n1\t2\n")
    assert curves_of(tmp_path, 100) == {"loss": [(1, 2.0)]}


def test_what_may_not_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "results.csv").write_text("epoch,acc\n1,3\n")
    plain = os.open

    def refuse(path: str, *rest: int) -> int:
        if os.fspath(path).endswith("metrics.csv"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return plain(path, *rest)

    monkeypatch.setattr("ckpt.scan.live.growing.os.open", refuse)
    assert curves_of(tmp_path, 100) == {"acc": [(1, 3.0)]}
    found = reached(tmp_path)
    assert found is not None and found.epoch == 1


def test_a_failing_disk_is_told_and_not_taken_for_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")

    def fail(self: Growing, offset: int, length: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Growing, "read", fail)
    with pytest.raises(OSError, match="Input/output"):
        curves_of(tmp_path, 100)
    with pytest.raises(OSError, match="Input/output"):
        reached(tmp_path)


def test_a_line_of_a_gigabyte(tmp_path: Path) -> None:
    with (tmp_path / "metrics.csv").open("wb") as stream:
        stream.write(b"step,loss\n1,2\n")
        stream.truncate(1 << 30)
        stream.seek(1 << 30)
        stream.write(b"\n5,6\n")
    told = bounded(tmp_path, "print(curves_of(directory, 100), reached(directory).step)")
    assert told.split("\n")[0].endswith("5") and "(5, 6.0)" in told


def test_millions_of_columns(tmp_path: Path) -> None:
    with (tmp_path / "metrics.csv").open("w") as stream:
        stream.write("step," + ",".join(f"m{n}" for n in range(2_000_000)) + "\n")
        stream.write("1," + ",".join("2" for _ in range(2_000_000)) + "\n")
    (tmp_path / "results.csv").write_text(
        "step," + ",".join(f"m{n}" for n in range(100_000)) + "\n" + "1," + ",".join("2" * 100_000) + "\n"
    )
    assert bounded(tmp_path, "print(len(curves_of(directory, 100)), reached(directory) is not None)") == (
        f"{MAX_METRICS} False\n"
    )


def test_a_name_a_line(tmp_path: Path) -> None:
    with (tmp_path / "metrics.json").open("w") as stream:
        for n in range(200_000):
            stream.write(f'{{"step": {n}, "metric{n}": 1}}\n')
    assert bounded(tmp_path, "print(len(curves_of(directory, 10**9)))") == f"{MAX_METRICS}\n"


def test_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    for name in ("metrics.csv", "trainer_state.json", "events.out.tfevents.1.x"):
        with (tmp_path / name).open("wb") as stream:
            stream.write(b"step,loss\n1,2\n")
            stream.truncate(1 << 40)
    assert bounded(tmp_path, "print(curves_of(directory, 100), reached(directory))") == "{} None\n"


def test_thousands_of_files(tmp_path: Path) -> None:
    metrics = tmp_path / "dvclive" / "plots" / "metrics"
    metrics.mkdir(parents=True)
    for number in range(FILES_MAX + 300):
        (metrics / f"m{number:05d}.tsv").write_text(f"step\tm\n{number}\t1\n")
        (tmp_path / "runs" / str(number)).mkdir(parents=True)
        (tmp_path / "runs" / str(number) / f"events.out.tfevents.{number}.x").write_bytes(b"x")
    assert len(curves_of(tmp_path, 100)) == FILES_MAX
    assert reached(tmp_path) is not None


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    for number in range(2 * reading._REMEMBERED):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "metrics.csv").write_text("step,loss,words\n" + f"1,2.0,{'x' * 10_000}\n" * 110)
        curves_of(directory, 100)
    assert len(reading._remembered) == reading._REMEMBERED
    many = tmp_path / "metrics.csv"
    columns, rows = 100, reading._REMEMBERED_POINTS // 100 + 500
    with many.open("w") as stream:
        stream.write("step," + ",".join(f"m{n}" for n in range(columns)) + "\n")
        for step in range(rows):
            stream.write(f"{step}" + ",1.0" * columns + "\n")
    assert many.stat().st_size > reading.REMEMBER_BYTES
    for points, is_kept in ((10**6, False), (100, True)):
        assert len(curves_of(tmp_path, points)) == columns
        assert ((str(many), "metrics.csv", points) in reading._remembered) is is_kept
