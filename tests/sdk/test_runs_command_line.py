"""How a process was started, as its run tells it: enough to start it again, and no secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt import Run
from ckpt.runs.command_line import without_secrets


def test_an_attempt_tells_how_it_was_started_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2")
    monkeypatch.setattr("sys.orig_argv", ["python", "-u", "train.py", "--lr", "0.1", "--wandb-api-key", "hunter2"])
    with Run.create(base_dir=tmp_path) as run:
        attempt = run.manifest["attempts"][0]
        assert attempt["command"][1:] == ["-u", "train.py", "--lr", "0.1", "--wandb-api-key", "[hidden]"]
        assert os.path.isabs(attempt["command"][0]) and attempt["cwd"] == os.getcwd()
        assert "hunter2" not in run.paths.manifest.read_text()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--token", "abc", "train.py"], ["--token", "[hidden]", "train.py"]),
        (["--hf_token=abc", "--lr=1"], ["--hf_token=[hidden]", "--lr=1"]),
        (["login.password=abc=d", "model.lr=1"], ["login.password=[hidden]", "model.lr=1"]),
        (["--clientSecret", "-abc"], ["--clientSecret", "[hidden]"]),
        (["--use-auth-token", "--lr", "1"], ["--use-auth-token", "--lr", "1"]),
        (["s3://me:abc@host/x", "--data=pg://me:abc@host/x"], ["s3://[hidden]@host/x", "--data=pg://[hidden]@host/x"]),
        (["--tokenizer", "gpt2", "--key-heads", "4", "http://host:80/x"],) * 2,
        (["--token="], ["--token="]),
    ],
)
def test_values_of_secrets_are_hidden(words: list[str], kept: list[str]) -> None:
    assert list(without_secrets(words)) == kept


def test_one_of_several_processes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with Run.create(base_dir=tmp_path) as run:
        assert run.manifest["attempts"][0]["world_size"] == 2


def test_a_command_line_of_a_whole_book_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "-c", "x" * 100_000])
    with Run.create(base_dir=tmp_path) as run:
        assert "command" not in run.manifest["attempts"][0]
