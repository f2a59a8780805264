"""`ckpt policy`: show, set and test, without a daemon and with a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.client import Client
from ckpt.files import FileLock
from ckpt.paths import RunPaths


@pytest.fixture
def ten(runs: Any) -> Path:
    """A run of ten checkpoints whose accuracy is highest at step 30, with a policy of its own."""
    directory: Path = runs.run("exp1", policy={"keep_last": 10})
    for n in range(1, 11):
        accuracy = 0.9 if n == 3 else n / 100
        runs.checkpoint(directory, step=10 * n, epoch=n, loss=1.0 - n / 20, metrics={"acc": accuracy})
    return directory


def said(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "marks.jsonl").read_text().splitlines()]


def test_show_tells_what_each_value_means_and_where_it_comes_from(ten: Path, ckpt: Any) -> None:
    shown = ckpt("policy", "show", ten)
    assert shown.code == 0 and "Keeps the 10 newest." in shown.out and "run.json" in shown.out
    assert "ckpt policy set exp1" in shown.out and "CheckpointConfig" in shown.out
    whole = ckpt("policy", "show", ten, "--json").json
    assert whole["policy"]["keep_last"] == 10 and whole["origins"]["keep_last"] == "run.json"
    assert whole["describe"] and whole["run"]["name"] == "exp1"
    assert [layer["origin"] for layer in whole["layers"]] == ["run.json", "command"]


def test_show_of_a_run_without_rules(runs: Any, ckpt: Any) -> None:
    assert "everything is kept" in ckpt("policy", "show", runs.run("exp1", checkpoints=1)).out


def test_set_shows_what_would_go_and_asks(ten: Path, ckpt: Any) -> None:
    refused = ckpt("policy", "set", ten, "keep_last=7")
    assert refused.code == 2 and "would now remove 3 of 10" in refused.err and "--yes" in refused.err
    assert not (ten / "marks.jsonl").exists()
    declined = ckpt("policy", "set", ten, "keep_last=7", answer="n")
    assert declined.code == 1 and not (ten / "marks.jsonl").exists()
    done = ckpt("policy", "set", ten, "keep_last=7", answer="y")
    assert done.code == 0 and "nothing is removed at once" in done.err
    assert [(line["kind"], line["policy"]) for line in said(ten)] == [("policy", {"keep_last": 7})]
    assert len(list((ten / "checkpoints").glob("*.pt"))) == 10
    assert ckpt("policy", "show", ten, "--json").json["origins"]["keep_last"] == "command"


def test_set_adds_to_what_was_set_before_and_clear_takes_back(ten: Path, ckpt: Any) -> None:
    assert ckpt("policy", "set", ten, "keep_best=2", "--yes").code == 0
    ckpt("policy", "set", ten, "keep_best_of.acc=1", "keep_every=1h for 1d", "--yes")
    ckpt("policy", "set", ten, "keep_best_of.bleu=2 max", "--yes")
    assert said(ten)[-1]["policy"] == {
        "keep_best": 2,
        "keep_best_of": {"acc": {"keep": 1, "mode": "max"}, "bleu": {"keep": 2, "mode": "max"}},
        "keep_every": [{"every": 3600.0, "within": 86400.0}],
    }
    ckpt("policy", "set", ten, "--clear", "keep_best_of", "keep_best_n_checkpoints", "--yes")
    assert set(said(ten)[-1]["policy"]) == {"keep_every"}
    ckpt("policy", "set", ten, "--clear", "keep_last=3", "keep_every", "--yes")
    assert said(ten)[-1]["policy"] == {"keep_last": 3}
    ckpt("policy", "set", ten, "--clear", "--yes")
    assert said(ten)[-1]["policy"] == {}
    assert ckpt("policy", "show", ten, "--json").json["origins"]["keep_last"] == "run.json"


def test_a_monitor_never_keeps_the_direction_of_another(ten: Path, ckpt: Any) -> None:
    ckpt("policy", "set", ten, "monitor=acc", "mode=min", "--yes")
    ckpt("policy", "set", ten, "monitor=bleu", "--yes")
    assert said(ten)[-1]["policy"] == {"monitor": "bleu"}
    ckpt("policy", "set", ten, "monitor=none", "--yes")
    assert said(ten)[-1]["policy"] == {"unmonitored": True}


def test_a_rule_can_be_switched_off(ten: Path, ckpt: Any) -> None:
    assert ckpt("policy", "set", ten, "keep_last=off").code == 0
    shown = ckpt("policy", "show", ten, "--json").json
    assert shown["policy"]["keep_last"] is None and shown["origins"]["keep_last"] == "command"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("keep_las=3",), "keep_last"),
        (("keep_last=-1",), "keep_last"),
        (("keep_last",), "NAME=VALUE"),
        (("--clear", "keep_lst"), "keep_last"),
        ((), "keep_last=5"),
    ],
)
def test_typos_are_refused_with_the_nearest_name(ten: Path, ckpt: Any, words: tuple[str, ...], hint: str) -> None:
    answer = ckpt("policy", "set", ten, *words, "--yes")
    assert answer.code == 2 and hint in answer.err and not (ten / "marks.jsonl").exists()


def test_a_run_that_is_not_there(ckpt: Any, tmp_path: Path) -> None:
    for command in (("show",), ("set", "keep_last=1"), ("test",)):
        name, *rest = command
        assert ckpt("policy", name, tmp_path / "exp9", *rest).code == 2
    assert ckpt("policy", "set", "exp9", "keep_last=1", "--yes").code in (2, 4)


def test_policies_side_by_side(ten: Path, ckpt: Any) -> None:
    answer = ckpt(
        "policy", "test", ten, "--policy", "keep_last=2", "-p", "keep_last=1 keep_best_of.acc=1", "--json"
    ).json
    assert answer["history"]["saves"] == 10 and len(answer["present"]["kept"]) == 10
    first, second = answer["tried"]
    assert [kept["step"] for kept in first["kept"]] == [90, 100] and first["most"] == 3
    lost = {best["metric"]: best["kept"] for best in first["bests"]}
    assert lost == {"loss": True, "acc": False}
    assert [kept["step"] for kept in second["kept"]] == [30, 100]
    told = ckpt("policy", "test", ten, "--policy", "keep_last=2")
    assert told.code == 0 and "acc: highest 0.9 at step 30" in told.out and "lost by keep_last=2" in told.out
    assert "in force: keep_last=10" in told.out and "▁" in told.out
    assert ckpt("policy", "test", ten, "-p", "keep_last=2", "-q").out.count("\n") == 2


def test_what_was_purged_is_part_of_the_history(ten: Path, ckpt: Any, daemon: Any, eventually: Any) -> None:
    eventually(
        lambda: ckpt("ls", "exp1", "--json").code == 0 and ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 10
    )
    assert ckpt("policy", "set", "exp1", "keep_last=4", "--yes").code == 0
    if ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 10:
        ckpt("prune", "exp1", "--yes")
    eventually(lambda: ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 4)
    ckpt("trash", "purge", "--all", "--yes")
    answer = ckpt("policy", "test", "exp1", "-p", "keep_best_of.acc=1 keep_last=1", "--json").json
    assert (answer["history"]["saves"], answer["history"]["removed"]) == (10, 6)
    assert [kept["step"] for kept in answer["tried"][0]["kept"]] == [30, 100]
    assert "6 of them removed since" in ckpt("policy", "test", ten).out


def test_a_typo_in_a_policy_that_is_tried(ten: Path, ckpt: Any) -> None:
    answer = ckpt("policy", "test", ten, "-p", "keep_lst=3", "--json")
    assert answer.code == 2 and "keep_last" in (answer.error["hint"] or "")


def test_a_run_without_saves_says_what_to_look_at(runs: Any, ckpt: Any) -> None:
    answer = ckpt("policy", "test", runs.run("empty"))
    assert answer.code == 0 and "0 saves" in answer.out and "ckpt ls" in answer.err


def test_policies_through_the_daemon(ten: Path, ckpt: Any, daemon: Any, eventually: Any, runs: Any) -> None:
    runs.run("exp2", checkpoints=3)
    eventually(lambda: len(ckpt("ls", "--json").json["runs"]) == 2)
    assert ckpt("policy", "set", "exp1", "keep_last=9", "keep_for=2d", answer="y").code == 0
    assert ckpt("policy", "show", "exp1", "--json").json["policy"]["keep_for"] == 172800.0
    assert ckpt("policy", "show", ten, "--json").json["layers"][-1]["policy"] == {"keep_last": 9, "keep_for": 172800.0}
    everywhere = ckpt("policy", "show")
    assert everywhere.code == 0 and "exp1" in everywhere.out and "keep_last" in everywhere.out
    # What the policy removes goes by itself, and not at once.
    eventually(lambda: ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 9)
    root = ten.parent
    assert ckpt("watch", "add", root, "--enforce", "--policy", "keep_last=50", "--yes").code == 0
    below = ckpt("policy", "set", root, "keep_last=1", "--json", "--yes").json
    assert below["origins"]["keep_last"] == "root" and below["remove"] == 2
    assert ckpt("policy", "show", "exp2", "--json").json["origins"]["keep_last"] == "root"
    assert "Keeps the newest" in ckpt("policy", "show", root).out
    back = ckpt("policy", "set", root, "--clear", "--json").json
    assert back["layers"][-1]["policy"] == {}


def test_help_shows_how(ckpt: Any) -> None:
    for command in ("show", "set", "test"):
        answer = ckpt("policy", command, "--help")
        assert answer.code == 0 and f"ckpt policy {command} exp3" in answer.out


def test_what_config_toml_says_of_a_run_goes_before_a_command(
    ten: Path, ckpt: Any, daemon: Any, eventually: Any, own_places: Path
) -> None:
    (own_places / "config").mkdir(exist_ok=True)
    (own_places / "config/config.toml").write_text('[[run]]\nmatch = "exp1"\npolicy = {keep_last = 8}\n')
    eventually(lambda: ckpt("ls", "exp1", "--json").code == 0)
    with Client.connect(autostart=False) as client:
        client.post("/v1/reload")
    answer = ckpt("policy", "set", "exp1", "keep_last=3", "keep_best=2", "--yes")
    assert answer.code == 0 and "keep_last stays as config.toml [[run]] exp1 says" in answer.err
    shown = ckpt("policy", "show", "exp1", "--json").json
    assert shown["policy"]["keep_last"] == 8 and shown["origins"]["keep_best"] == "command"
    assert "edit config.toml" in ckpt("policy", "show", "exp1").out


def test_show_tells_by_what_a_training_goes_that_knows_no_config_file(
    ten: Path, runs: Any, ckpt: Any, daemon: Any, eventually: Any, own_places: Path
) -> None:
    other = runs.run("exp2", checkpoints=1)
    (own_places / "config").mkdir(exist_ok=True)
    rules = '[policy]\nkeep_last = 1\n[[run]]\nmatch = "exp1"\npolicy = {keep_last = 50}\n'
    (own_places / "config/config.toml").write_text(rules)
    eventually(lambda: len(ckpt("ls", "--json").json["runs"]) == 2)
    with Client.connect(autostart=False) as client:
        client.post("/v1/reload")
    told = "its training prunes by what its own code says until it ends: "
    assert told not in ckpt("policy", "show", "exp1").out
    with FileLock(RunPaths(ten).lock), FileLock(RunPaths(other).lock):
        eventually(lambda: f"{told}keep_last=10 monitor=" in ckpt("policy", "show", "exp1").out)
        # Below a directory that is only observed [policy] says nothing to it, and nothing differs.
        shown = ckpt("policy", "show", "exp2").out
        assert told not in shown
        assert "config.toml [policy] does not hold for it: its directory is only observed" in " ".join(shown.split())
    eventually(lambda: told not in ckpt("policy", "show", "exp1").out)


def test_a_training_that_goes_by_the_whole_policy_is_not_spoken_of(ten: Path, ckpt: Any) -> None:
    ckpt("policy", "set", ten, "keep_last=9", "--yes")
    with FileLock(RunPaths(ten).lock):
        assert ckpt("policy", "show", ten, "--json").json["run"]["status"] in ("training", "stalled")
        assert "its training prunes" not in ckpt("policy", "show", ten).out


def test_set_says_that_a_large_share_waits(ten: Path, ckpt: Any) -> None:
    answer = ckpt("policy", "set", ten, "keep_last=2", "--yes")
    assert "it waits for `ckpt apply`: removes 8 of 10" in answer.err and "at its next save" not in answer.err
    assert "it waits" not in ckpt("policy", "set", ten, "keep_last=7", "--yes").err


def test_a_policy_in_force_can_be_typed_again(ten: Path, ckpt: Any) -> None:
    typed = 'keep_last=2 keep_within=90m keep_every="1h for 1d" max_bytes=200GB keep_best_of.acc="2 max"'
    ckpt("policy", "set", ten, typed, "--yes")
    told = ckpt("policy", "test", ten, "--policy", "keep_last=1").out
    line = next(line for line in told.splitlines() if line.startswith("in force: "))
    for part in ("keep_last=2", "keep_within=90m", 'keep_every="1h for 1d"', "max_bytes=200GB", 'acc="2 max"'):
        assert part in line
    assert "monitor=loss" in line


def test_a_guess_is_told_from_what_a_trainer_says(tmp_path: Path, ckpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt.retention.outside.SETTLE_S", 0.0)
    for epoch in (1, 2, 3):
        state = {
            "model": {"head.weight": torch.ones(2), "head.bias": torch.ones(2)},
            "epoch": epoch,
            "global_step": epoch * 10,
            "val_loss": float(epoch),
        }
        torch.save(state, tmp_path / f"e_{epoch}.pt")
    shown = ckpt("policy", "show", tmp_path / "e_1.pt")
    assert "guess: its trainer names no metric" in shown.out
    assert shown.code == 0
    plan = ckpt("plan", tmp_path, "--policy", "keep_last=1 max_share=1 min_age=0").out
    assert "best by val_loss is a guess" in plan
    assert "is a guess" not in ckpt("plan", tmp_path, "--policy", "keep_last=1 min_age=0 monitor=none").out
