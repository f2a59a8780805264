"""`ckpt watch add --enforce`: the first plan of a directory that other tools write, with a real daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.client import daemon_note

RULES = "keep_last=4 monitor=eval_loss min_age=0 max_share=100%"
# Files that were just written count as quiet, as otherwise nothing would go for a minute.
DAEMON = "import ckpt.retention.outside as o; o.SETTLE_S = 0.0; from ckptd.cli import main; main()"


@pytest.fixture
def ckptd(tmp_path: Path, eventually: Any) -> Iterator[Callable[..., None]]:
    """A daemon; called, it is started anew."""
    running: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "daemon.log").open("wb")

    def end() -> None:
        for process in running:
            process.terminate()
            process.wait(timeout=30)
        running.clear()

    def start() -> None:
        end()
        process = subprocess.Popen([sys.executable, "-c", DAEMON, "run"], stdin=subprocess.DEVNULL, stderr=log)
        running.append(process)
        eventually(lambda: (daemon_note() or {}).get("pid") == process.pid)

    try:
        start()
        yield start
    finally:
        end()
        log.close()


def hugging_face(directory: Path, step: int) -> None:
    directory.mkdir(parents=True)
    save_file({"w": torch.ones(8)}, directory / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    log = [{"eval_loss": 1.0 / step, "step": step, "epoch": 1.0}]
    state = {"global_step": step, "epoch": 1.0, "log_history": log}
    (directory / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run of six checkpoints."""
    for step in range(1, 7):
        hugging_face(tmp_path / "root" / "run" / f"checkpoint-{step}", step)
    return tmp_path / "root"


def steps(root: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in (root / "run").glob("checkpoint-*"))


def told(ckpt: Any, root: Path) -> dict[str, Any]:
    return next(one for one in ckpt("watch", "ls", "--json").json["roots"] if one["path"] == str(root))


def test_the_first_plan_is_shown_confirmed_and_carried_out(ckpt: Any, ckptd: Any, root: Path, eventually: Any) -> None:
    answer = ckpt("watch", "add", root, "--enforce", "--policy", RULES, answer="y")
    assert answer.code == 0, answer.err
    assert "REMOVE" in answer.err
    assert f"enforce {root}, and move 2 checkpoints" in answer.err
    assert re.search(r"2 checkpoints moved to the trash; `ckpt undo [0-9a-f]+` brings them back", answer.out)
    assert steps(root) == [3, 4, 5, 6]
    assert len(ckpt("trash", "ls", "--json").json["entries"]) == 2
    known = told(ckpt, root)
    assert (known["mode"], known["confirmed"], known["waits"]) == ("enforce", True, False)
    assert known["policy"]["keep_last"] == 4
    # It goes on by itself, also after a restart.
    ckptd()
    hugging_face(root / "run" / "checkpoint-7", 7)
    eventually(lambda: steps(root) == [4, 5, 6, 7])
    assert "keep_last=4 monitor=eval_loss" in ckpt("watch", "ls").out
    again = ckpt("watch", "add", root, "--enforce", "--yes")
    assert (again.code, "is enforced already" in again.err) == (0, True)
    assert ckpt("watch", "add", root, "--observe").code == 0
    assert (told(ckpt, root)["mode"], told(ckpt, root)["confirmed"]) == ("observe", False)
    # Another machine may take its place without being told to.
    assert not (root / ".ckptd" / "owner.json").exists()
    left = ckpt("watch", "rm", root, answer="y")
    assert "3 removed checkpoints" in left.err
    assert "nothing purges them any more" in left.out
    assert len(list((root / ".ckptd" / "trash").iterdir())) >= 3


def test_a_no_leaves_it_observed_and_says_how_to_ask_again(ckpt: Any, ckptd: Any, root: Path) -> None:
    answer = ckpt("watch", "add", root, "--enforce", "--policy", RULES, answer="n")
    assert answer.code == 1
    assert f"{root} is only observed; `ckpt watch add {root} --enforce --policy '{RULES}'` asks again" in answer.err
    assert (told(ckpt, root)["mode"], told(ckpt, root)["policy"]) == ("observe", {})
    assert steps(root) == [1, 2, 3, 4, 5, 6]
    assert not (root / ".ckptd").exists()


def test_what_cannot_be_enforced_says_why(ckpt: Any, ckptd: Any, root: Path, tmp_path: Path) -> None:
    nobody = ckpt("watch", "add", root, "--enforce", "--policy", RULES)
    assert (nobody.code, "nobody is at a terminal" in nobody.err, "--yes" in nobody.err) == (2, True, True)
    assert ckpt("watch", "ls", "--json").json["roots"] == []
    no_rule = ckpt("watch", "add", root, "--enforce", "--yes")
    assert (no_rule.code, "no rule says what to keep" in no_rule.err, "--policy" in no_rule.err) == (2, True, True)
    typo = ckpt("watch", "add", root, "--enforce", "--yes", "--policy", "keep_lst=3")
    assert "did you mean keep_last?" in typo.err
    assert ckpt("watch", "add", root, "--policy", "keep_last=3").code == 2
    assert ckpt("watch", "add", root, "--enforce", "--observe").code == 2
    assert ckpt("watch", "add", root, "--take-over").code == 2
    checkpoint = root / "run" / "checkpoint-1"
    inside = ckpt("watch", "add", checkpoint, "--enforce", "--yes", "--policy", "keep_last=3")
    assert inside.code != 0
    assert steps(root) == [1, 2, 3, 4, 5, 6]


def test_a_root_of_another_machine_is_taken_over_only_when_that_is_said(ckpt: Any, ckptd: Any, root: Path) -> None:
    (root / ".ckptd").mkdir()
    now = time.time()
    owner = {"version": 1, "id": "e" * 16, "machine": "f" * 16, "host": "elsewhere", "user": "eva", "claimed_at": now}
    (root / ".ckptd" / "owner.json").write_text(json.dumps(owner))
    rules = ("--enforce", "--yes", "--policy", RULES)
    refused = ckpt("watch", "add", root, *rules)
    assert (refused.code, "elsewhere" in refused.err, "--take-over" in refused.err) == (3, True, True)
    assert ckpt("watch", "ls", "--json").json["roots"] == [], "nobody asked to look at it alone"
    assert ckpt("watch", "add", root, *rules, "--take-over").code == 0
    assert steps(root) == [3, 4, 5, 6]


def test_a_plan_of_another_world_is_not_confirmed(ckpt: Any, ckptd: Any, root: Path) -> None:
    from ckpt.client import Client
    from ckpt.exceptions import OperationError

    body = {"path": str(root), "mode": "enforce", "policy": {"keep_last": 4, "monitor": "eval_loss", "min_age": 0}}
    with Client.connect(autostart=False) as client:
        client.post("/v1/roots", body)
        plan = client.get("/v1/plan", root=str(root), enforced="1")
        assert sum(len(run["remove"]) for run in plan["runs"]) == 2
        hugging_face(root / "run" / "checkpoint-7", 7)
        with pytest.raises(OperationError) as error:
            client.post("/v1/roots", {"path": str(root), "mode": "enforce", "plan": plan["id"]})
        assert "plan" in (error.value.hint or "")
        assert told(ckpt, root)["mode"] == "observe"
        fresh = client.get("/v1/plan", root=str(root), enforced="1")
        answer = client.post("/v1/roots", {"path": str(root), "mode": "enforce", "plan": fresh["id"]})
    assert len(answer["applied"]["removed"]) == 3
    assert steps(root) == [4, 5, 6, 7]


def test_a_root_of_config_toml_waits_for_its_first_plan(
    ckpt: Any, ckptd: Any, root: Path, own_places: Path, eventually: Any
) -> None:
    config = own_places / "config" / "config.toml"
    config.parent.mkdir(exist_ok=True)
    rules = 'keep_last = 4, monitor = "eval_loss", min_age = 0, max_share = 1'
    config.write_text(f'[[root]]\npath = "{root}"\nmode = "enforce"\npolicy = {{{rules}}}\n')
    ckptd()
    waiting = ckpt("watch", "ls")
    assert "enforce, waits" in waiting.out
    assert f"`ckpt watch add {root} --enforce`" in waiting.out
    assert steps(root) == [1, 2, 3, 4, 5, 6]
    assert ckpt("watch", "add", root, "--enforce", answer="y").code == 0
    assert steps(root) == [3, 4, 5, 6]
    there = ckpt("watch", "add", root, "--observe")
    assert (there.code, "config.toml" in there.err) == (2, True)
    # A stricter policy is told when it is taken; it goes through the normal limits and asks.
    stricter = rules.replace("keep_last = 4", "keep_last = 1").replace("max_share = 1", "max_share = 0.5")
    config.write_text(config.read_text().replace(rules, stricter))
    from ckpt.client import Client

    with Client.connect(autostart=False) as client:
        changed = client.post("/v1/reload")["changed"]
        assert any(text.startswith(f"{root}: policy keep_last=4") for text in changed)
        assert any("would now remove 3 more checkpoints" in text for text in changed), changed
        client.post("/v1/rescan")
        # Whichever look comes first asks.
        assert eventually(lambda: client.get("/v1/status")["asks"])
    assert steps(root) == [3, 4, 5, 6]


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
def test_a_home_directory_is_never_enforced(ckpt: Any, ckptd: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ckpt("watch", "add", "/", "--enforce", "--yes", "--policy", "keep_last=3", "--exclude", "*")
    assert (answer.code, "the whole file system" in answer.err) == (2, True)


def test_what_is_not_watched_any_more_is_only_observed_when_it_comes_back(ckpt: Any, ckptd: Any, root: Path) -> None:
    assert ckpt("watch", "add", root, "--enforce", "--policy", RULES, "--yes").code == 0
    left = ckpt("watch", "rm", root, "--yes").out
    assert f"`ckpt watch add {root}` watches it again, observed and without its policy" in left
    again = ckpt("watch", "add", root, "--json").json["root"]
    assert (again["mode"], again["policy"]) == ("observe", {})


def test_runs_of_the_sdk_are_told_of_in_the_first_plan(ckpt: Any, ckptd: Any, root: Path, runs: Any) -> None:
    runs.run("mine", checkpoints=6)
    answer = ckpt("watch", "add", runs.base, "--enforce", "--policy", "keep_last=4", answer="y")
    assert answer.code == 0, answer.err
    assert "runs of the SDK follow too: mine\n" in answer.err
    assert len(ckpt("ls", "mine", "--json").json["checkpoints"]) == 4
