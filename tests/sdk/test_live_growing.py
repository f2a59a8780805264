"""Files that are written to while they are read: cut lines, new headers, other content, trainings that go back."""

from __future__ import annotations

import csv
import json
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from ckpt.scan.live import curves_of, reached, reading
from ckpt.scan.live.growing import LINE_MAX, Growing
from ckpt.scan.live.series import Series


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    reading._remembered.clear()


def table(path: Path, rows: int, *, start: int = 0, width: int = 60) -> None:
    """Appends rows whose value is their step."""
    new = not path.exists()
    with path.open("a") as stream:
        if new:
            stream.write("step,loss,padding\n")
        for step in range(start, start + rows):
            stream.write(f"{step},{step}.0,{'1' * width}\n")


def test_a_table_cut_anywhere_never_gives_a_wrong_value(tmp_path: Path) -> None:
    whole = b"epoch,step,loss\n0,1,0.125\n0,2,0.0625\n1,3,123.456\n"
    told = [(1, 0.125), (2, 0.0625), (3, 123.456)]
    for length in range(len(whole) + 1):
        (tmp_path / "metrics.csv").write_bytes(whole[:length])
        curve = curves_of(tmp_path, 100).get("loss", [])
        assert curve == told[: len(curve)], length
        found = reached(tmp_path)
        assert (found is None) == (not curve) and (found is None or found.step == curve[-1][0])
    assert curve == told


def test_lines_have_an_end_and_a_position(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\n\n" + b"L" * (LINE_MAX + 5) + b"\nlast\ncut")
    with Growing(str(path)) as file:
        lines = list(file.lines(0))
        assert [line for line, _ in lines] == [b"one", b"", b"last"]
        assert [end for _, end in lines] == [4, 5, path.stat().st_size - 3]
        assert next(file.lines(lines[1][1]))[0] == b"last"


def test_a_training_that_goes_back_abandons_the_later_steps_of_every_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,a,b\n1,1,1\n2,2,2\n3,3,3\n4,4,4\n2,20,\n3,30,\n")
    assert curves_of(tmp_path, 100) == {"a": [(1, 1.0), (2, 20.0), (3, 30.0)], "b": [(1, 1.0)]}


def test_the_last_value_of_a_step_is_the_one(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,a\n1,1\n2,2\n2,3\n")
    assert curves_of(tmp_path, 100) == {"a": [(1, 1.0), (2, 3.0)]}


def test_a_large_table_is_read_on_and_not_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    table(path, 30_000)
    assert path.stat().st_size > reading.REMEMBER_BYTES
    before = curves_of(tmp_path, 100)["loss"]
    assert before[-1] == (29_999, 29_999.0)
    read: list[int] = []
    plain = Growing.read

    def counted(self: Growing, offset: int, length: int) -> bytes:
        data = plain(self, offset, length)
        read.append(len(data))
        return data

    monkeypatch.setattr(Growing, "read", counted)
    table(path, 10, start=30_000)
    curve = curves_of(tmp_path, 100)["loss"]
    assert curve[-1] == (30_009, 30_009.0) and curve[: len(before) - 1] == before[:-1]
    assert sum(read) < 64 << 10
    read.clear()
    found = reached(tmp_path)
    assert found is not None and found.step == 30_009
    assert sum(read) < 1 << 20


def test_what_is_remembered_is_left_when_the_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table(path, 30_000)
    assert curves_of(tmp_path, 100)["loss"][-1] == (29_999, 29_999.0)
    # Written anew in place with one column more, as Lightning does when a metric comes up late.
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["step", "acc", "loss", "padding"])
        writer.writeheader()
        writer.writerows({**row, "acc": "0.5"} for row in rows)
    curves = curves_of(tmp_path, 100)
    assert curves["acc"][-1] == (29_999, 0.5) and curves["loss"][-1] == (29_999, 29_999.0)
    # Another file of the same name, and then a shorter one.
    (tmp_path / "other").write_text("step,loss\n" + "7,7.5\n" * 300_000)
    os.replace(tmp_path / "other", path)
    assert curves_of(tmp_path, 100)["loss"] == [(7, 7.5)]
    path.write_text("step,loss\n1,1\n")
    assert curves_of(tmp_path, 100)["loss"] == [(1, 1.0)]


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_a_header_that_changes_while_a_table_is_read(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer comes in between two reads: no cell is taken under the name of another."""
    path = tmp_path / "metrics.csv"

    def write(names: list[str]) -> None:
        with path.open("w") as stream:
            stream.write(",".join(["step", *names, "padding"]) + "\n")
            for step in range(20_000):
                stream.write(",".join([str(step), *(f"{ord(name)}" for name in names), "1" * 80]) + "\n")

    write(["b", "a", "c"])
    plain, reads = Growing.read, 0

    def interrupted(self: Growing, offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == moment + 1:
            write(["a", "b", "d"])
        return plain(self, offset, length)

    monkeypatch.setattr(Growing, "read", interrupted)
    curves = curves_of(tmp_path, 50)
    assert reads > moment
    assert {"a", "b"} <= set(curves)
    for name in "abcd":
        assert {value for _, value in curves.get(name, [])} <= {float(ord(name))}


def test_a_header_that_changes_while_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,acc\n1,0.5,90\n")
    plain, reads = Growing.read, 0

    def interrupted(self: Growing, offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:
            path.write_text("step,acc,loss\n1,90,0.5\n")
        return plain(self, offset, length)

    monkeypatch.setattr(Growing, "read", interrupted)
    found = reached(tmp_path)
    assert reads > 3 and (found is None or found.loss == 0.5)


def test_many_askers_at_once_get_whole_answers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table(path, 30_000)
    expected = curves_of(tmp_path, 100)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(5):
            answer = curves_of(tmp_path, 100)
            if answer != expected:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_is_bounded_by_points_and_not_by_rows() -> None:
    series = Series()
    for step in range(100_000):
        series.add(step, float(step), 50)
        assert len(series._steps) < 100
    points = series.points(50)
    assert len(points) <= 51 and points[0] == (0, 0.0) and points[-1] == (99_999, 99_999.0)
    gaps = [b[0] - a[0] for a, b in pairwise(points[:-1])]
    assert len(set(gaps)) == 1


def test_thinned_series_with_two_values_a_step_stay_even() -> None:
    series = Series()
    for step in range(10_000):
        series.add(step, 0.0, 50)
        series.add(step, float(step), 50)
    points = series.points(50)
    gaps = [b[0] - a[0] for a, b in pairwise(points[:-1])]
    assert max(gaps) <= 2 * min(gaps) and points[-1] == (9_999, 9_999.0)
    assert all(value == step for step, value in points)


def test_states_of_own_runs_that_are_cut_and_go_back(tmp_path: Path) -> None:
    states = tmp_path / "states.jsonl"
    rows = [{"global_step": step, "epoch": 1, "loss": float(step), "metrics": {"acc": "NaN"}} for step in (1, 2, 3, 2)]
    states.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"global_step": 9, "lo')
    assert curves_of(tmp_path, 100)["loss"] == [(1, 1.0), (2, 2.0)]
    found = reached(tmp_path)
    assert found is not None and (found.step, found.epoch, found.loss) == (2, 1, 2.0)
