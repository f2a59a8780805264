"""`ckpt verify`: whole, damaged, written, without checksums; by path, run, selector, and through the daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.files import FileLock
from ckpt.paths import RunPaths
from ckpt_tui.answers import settling, verifying


def damage(path: Path) -> None:
    """Turns over a bit of the tensor that `RunMaker` writes last; sizes and times stay."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    content = torch.arange(4.0).numpy().tobytes()
    assert data.count(content) == 1
    data[data.index(content) + 6] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_whole_run(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    answer = ckpt("verify", directory)
    assert answer.code == 0 and answer.out.count("whole  ") == 3
    assert answer.out.splitlines()[-1].startswith("3 checkpoints checked") and "none is damaged" in answer.out
    told = ckpt("verify", directory, "--json").json
    assert told["checked"] == 3 and told["damaged"] == told["writing"] == told["failed"] == []
    assert told["bytes_read"] == sum(p.stat().st_size for p in directory.glob("checkpoints/*.pt"))
    assert ckpt("verify", directory, "-q").out == ""


def test_a_flipped_bit_is_found_and_named(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    path = directory / "checkpoints" / "step-000020.pt"
    damage(path)
    assert ckpt("inspect", path, "--json").json["state"] == "complete"
    answer = ckpt("verify", directory, "--json")
    assert answer.code == 1 and answer.json["checked"] == 3
    (bad,) = answer.json["damaged"]
    assert bad["path"] == str(path) and bad["id"] == ckpt("show", path, "--json").json["checkpoint"]["id"]
    assert any("does not have the content that was written" in problem for problem in bad["problems"])
    assert any("BLAKE3" in problem for problem in bad["problems"])
    text = ckpt("verify", directory)
    assert text.code == 1 and f"damaged  {path}" in text.out and "1 damaged" in text.out
    assert ckpt("verify", directory, "-q").out == f"{path}\n"
    assert ckpt("verify", f"{directory}@step:10").code == 0
    assert ckpt("verify", f"{directory}@step:20").code == 1
    assert ckpt("verify", path, f"{directory}@step:20", "--json").json["checked"] == 1


def test_what_its_run_knows_counts_too(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1")
    path = runs.checkpoint(directory, step=10, commit=False)
    os.utime(path, (1, 1))
    state = ckpt("ls", directory, "--json").json["checkpoints"][0]["state"]
    assert state == "incomplete"
    answer = ckpt("verify", directory, "--json")
    assert answer.code == 1 and answer.json["damaged"][0]["problems"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second without a change counts as quiet."""
    monkeypatch.setattr(verifying, "SETTLE_S", 0.5)


def cut_in_two(directory: Path) -> Path:
    """A foreign run with a whole checkpoint, and half of one that was written just now."""
    directory.mkdir()
    torch.save({"epoch": 1, "model": {"w": torch.zeros(2)}}, directory / "epoch=1.ckpt")
    whole = (directory / "epoch=1.ckpt").read_bytes()
    (directory / "epoch=2.ckpt").write_bytes(whole[: len(whole) // 2])
    return directory / "epoch=2.ckpt"


def test_what_was_written_just_now_is_waited_for_and_judged(tmp_path: Path, ckpt: Any, impatient: None) -> None:
    half = cut_in_two(tmp_path / "theirs")
    assert ckpt("ls", tmp_path / "theirs", "--json").json["checkpoints"][0]["state"] == "writing"
    answer = ckpt("verify", tmp_path / "theirs", "--json")
    assert answer.code == 1 and answer.json["checked"] == 2 and answer.json["writing"] == []
    assert [Path(entry["path"]).name for entry in answer.json["damaged"]] == ["epoch=2.ckpt"]
    assert answer.json["damaged"][0]["problems"]
    half.touch()
    answer = ckpt("verify", half)
    assert answer.code == 1 and f"damaged  {half}" in answer.out
    assert re.fullmatch(r"waiting for epoch=2.ckpt, written 0 s ago\n", answer.err)


def test_a_file_that_no_run_has_is_waited_for_too(tmp_path: Path, ckpt: Any, impatient: None) -> None:
    half = cut_in_two(tmp_path / "theirs")
    alone = half.rename(tmp_path / "half")
    answer = ckpt("verify", alone)
    assert answer.code == 1 and "waiting for half" in answer.err


def test_what_becomes_whole_meanwhile_is_whole(tmp_path: Path, ckpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    half = cut_in_two(tmp_path / "theirs")
    whole = (tmp_path / "theirs" / "epoch=1.ckpt").read_bytes()

    def finish(before: settling.Sighting, settle_s: float) -> None:
        half.write_bytes(whole)

    monkeypatch.setattr(settling.Sighting, "wait", finish)
    answer = ckpt("verify", tmp_path / "theirs", "--json")
    assert answer.code == 0 and answer.json["checked"] == 2 and answer.json["writing"] == []


def test_what_is_still_being_written_is_not_checked_and_said(
    tmp_path: Path, ckpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = cut_in_two(tmp_path / "theirs")

    def more(before: settling.Sighting, settle_s: float) -> None:
        with half.open("ab") as stream:
            stream.write(b"more")

    monkeypatch.setattr(settling.Sighting, "wait", more)
    answer = ckpt("verify", tmp_path / "theirs", "--json")
    assert answer.code == 0 and answer.json["checked"] == 1
    assert [Path(entry["path"]).name for entry in answer.json["writing"]] == ["epoch=2.ckpt"]
    text = ckpt("verify", tmp_path / "theirs")
    assert "is still being written: not checked" in text.out
    assert text.out.splitlines()[-1].endswith("1 still being written and not checked")
    assert ckpt("verify", half).code == 1
    assert ckpt("verify", tmp_path / "theirs", half).code == 1


def test_what_a_training_writes_is_not_waited_for(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    path = runs.checkpoint(directory, step=20, commit=False)
    with FileLock(RunPaths(directory).lock):
        answer = ckpt("verify", directory, "--json")
        assert answer.code == 0 and answer.err == "" and [e["path"] for e in answer.json["writing"]] == [str(path)]


def test_files_without_checksums_are_said_to_have_none(tmp_path: Path, ckpt: Any) -> None:
    save_file({"w": torch.zeros(4)}, tmp_path / "model.safetensors")
    answer = ckpt("verify", tmp_path / "model.safetensors")
    assert answer.code == 0 and "no checksums to compare" in answer.out
    told = ckpt("verify", tmp_path / "model.safetensors", "--json").json
    assert [entry["path"] for entry in told["without_checksums"]] == [str(tmp_path / "model.safetensors")]


def test_a_file_that_no_run_has(tmp_path: Path, ckpt: Any) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "weights.torch")
    told = ckpt("verify", tmp_path / "weights.torch", "--json")
    assert told.code == 0 and told.json["checked"] == 1


def test_what_no_reader_knows_is_neither_whole_nor_damaged(tmp_path: Path, ckpt: Any) -> None:
    (tmp_path / "model.bin").write_bytes(b"nothing that anybody knows")
    answer = ckpt("verify", tmp_path / "model.bin")
    assert answer.code == 0 and "no reader knows it: nothing to check" in answer.out and "whole" not in answer.out
    (tmp_path / "model.pt").write_bytes(b"nothing that anybody knows")
    os.utime(tmp_path / "model.pt", (1, 1))
    assert ckpt("verify", tmp_path / "model.pt").code == 1


def test_all_runs_below_a_directory(runs: Any, ckpt: Any) -> None:
    runs.run("exp1", checkpoints=2)
    damage(runs.run("exp2", checkpoints=1) / "checkpoints" / "step-000010.pt")
    answer = ckpt("verify", runs.base, "--json")
    assert answer.code == 1 and answer.json["checked"] == 3 and len(answer.json["damaged"]) == 1


@pytest.mark.parametrize("words", [[], ["--all", "exp1"], ["nothing/here.pt"]])
def test_wrong_usage(ckpt: Any, words: list[str]) -> None:
    answer = ckpt("verify", *words)
    assert answer.code == 2 and answer.out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(runs: Any, ckpt: Any) -> None:
    path = runs.checkpoint(runs.run("exp1"), step=10)
    path.chmod(0)
    answer = ckpt("verify", path, "--json")
    assert answer.code == 3 and answer.json["failed"][0]["path"] == str(path)


def test_everything_that_is_known(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    runs.run("exp2", checkpoints=1)
    eventually(lambda: ckpt("verify", "--all", "--json").json["checked"] == 3)
    damage(directory / "checkpoints" / "step-000010.pt")
    answer = ckpt("verify", "--all", "--json")
    assert answer.code == 1 and answer.json["checked"] == 3 and len(answer.json["damaged"]) == 1
    assert ckpt("verify", "exp2").code == 0 and ckpt("verify", "exp1").code == 1


def test_all_without_a_daemon_is_answered_from_the_disk(ckpt: Any) -> None:
    answer = ckpt("verify", "--all", "--json")
    assert answer.code == 0 and answer.json["checked"] == 0


def test_a_bar_on_a_terminal_and_a_clean_end_on_ctrl_c(tmp_path: Path) -> None:
    # Sparse, so that it is large without taking room: reading it takes a while.
    path = tmp_path / "large.safetensors"
    size = 16 << 30
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + size)
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).parent / "ckpt"), "verify", str(path)]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        deadline = time.monotonic() + 60
        while b"s left" not in shown:
            assert time.monotonic() < deadline and process.poll() is None, shown
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:
            pass
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"verifying large.safetensors" in shown and b"Traceback" not in shown
    assert shown.rstrip(b"\r\n").endswith(b"\r\x1b[K") and process.stdout.read() == b""
    process.stdout.close()


def test_a_directory_by_itself_and_by_a_file_in_it(produced: Any, ckpt: Any) -> None:
    directory = produced("transformers") / "best" / "checkpoint-6"
    for address in (directory, directory / "optimizer.pt"):
        answer = ckpt("verify", address, "--json").json
        assert answer["checked"] == 1 and answer["damaged"] == []
        assert answer["bytes_read"] == sum(path.stat().st_size for path in directory.iterdir())
    assert re.search(r"\d+ KB read, \d+ KB of it under \d+ checksums", ckpt("verify", directory).out)


def test_all_files_of_a_checkpoint_of_several(tmp_path: Path, ckpt: Any) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    for rank in (0, 1):
        torch.save({"step": 5, "model": {"w": torch.arange(4.0) + rank}}, directory / f"model-rank{rank}.pt")
    assert len(ckpt("ls", directory, "--json").json["checkpoints"]) == 1
    answer = ckpt("verify", directory, "--json").json
    assert answer["checked"] == 1
    assert answer["bytes_read"] == sum(path.stat().st_size for path in directory.iterdir())
    second = directory / "model-rank1.pt"
    data = bytearray(second.read_bytes())
    data[data.index((torch.arange(4.0) + 1).numpy().tobytes())] ^= 1
    second.write_bytes(data)
    (bad,) = ckpt("verify", directory, "--json").json["damaged"]
    assert bad["path"].endswith("model-rank0.pt")
    assert [problem.partition(":")[0] for problem in bad["problems"]] == ["model-rank1.pt"]
