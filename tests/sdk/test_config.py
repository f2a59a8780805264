"""CheckpointConfig: every option, its limits, and the policy that it means."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import signal
from typing import Any

import pytest

from ckpt.config import CheckpointConfig
from ckpt.exceptions import StateError
from ckpt.retention import Policy

DOCUMENTED: dict[str, Any] = {
    "save_every_n_steps": None,
    "save_every_n_epochs": None,
    "save_every_n_minutes": None,
    "save_on_best_metric": None,
    "minimize_metric": True,
    "save_on_exception": False,
    "save_on_signals": (),
    "signal_save_within": 60.0,
    "background": True,
    "when_busy": "block",
    "when_disk_full": "raise",
    "disk_full_wait": 3600.0,
    "keep_last_n_checkpoints": None,
    "keep_best_n_checkpoints": None,
    "keep_checkpoint_every_n_epochs": None,
    "save_optimizer_state": True,
    "save_scheduler_state": True,
    "save_random_state": True,
    "gather_random_states": False,
    "use_incremental_saves": True,
    "auto_commit": True,
    "commit_message_template": "Checkpoint at epoch {epoch}, step {step}",
    "tag_best_checkpoints": True,
    "early_stopping_patience": None,
    "early_stopping_threshold": 0.0,
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_defaults_are_as_documented(name: str) -> None:
    assert getattr(CheckpointConfig(), name) == DOCUMENTED[name]


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(StateError, match="did you mean save_every_n_epochs"):
        CheckpointConfig(save_every_n_epoch=1)  # type: ignore[call-arg]
    with pytest.raises(StateError, match="no option 'zzz'"):
        CheckpointConfig(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("save_every_n_steps", 0),
        ("save_every_n_epochs", -1),
        ("save_every_n_minutes", 0),
        ("save_every_n_minutes", -0.5),
        ("save_every_n_minutes", True),
        ("save_every_n_minutes", "30m"),
        ("save_every_n_minutes", float("nan")),
        ("save_every_n_minutes", float("inf")),
        ("save_on_exception", 1),
        ("save_on_signals", ["SIGKILL"]),
        ("save_on_signals", [15]),
        ("save_on_signals", None),
        ("signal_save_within", 0),
        ("signal_save_within", "soon"),
        ("background", 1),
        ("background", None),
        ("background", "fork"),
        ("when_busy", "drop"),
        ("when_busy", ["skip"]),
        ("when_disk_full", True),
        ("disk_full_wait", -1),
        ("disk_full_wait", None),
        ("gather_random_states", "all"),
        ("keep_last_n_checkpoints", 0),
        ("keep_best_n_checkpoints", True),
        ("keep_checkpoint_every_n_epochs", 1.5),
        ("keep_checkpoint_every_n_steps", "3"),
        ("early_stopping_patience", 0),
        ("early_stopping_threshold", -0.1),
        ("early_stopping_threshold", float("nan")),
        ("keep_for", float("inf")),
        ("keep_for", None),
        ("keep_within", "1 month"),
        ("keep_every", "1d for 1h"),
        ("keep_steps", [1, 1]),
        ("max_bytes", "lots"),
        ("missing_metric", "drop"),
        ("metric_grace", -1),
        ("tag_best_checkpoints", 1),
        ("save_on_best_metric", "none"),
        ("auto_commit", 1),
        ("save_on_best_metric", ""),
        ("commit_message_template", "{epoch"),
        ("commit_message_template", "{}"),
        ("commit_message_template", "{epoch.__class__}"),
        ("commit_message_template", "{metrics[x]}"),
        ("commit_message_template", None),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(StateError, match=name):
        CheckpointConfig(**{name: value})


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"save_every_n_minute": 5}, "did you mean save_every_n_minutes"),
        ({"when_busy": "blok"}, "when_busy is 'blok', and has to be one of block, skip, coalesce\ndid you mean block?"),
        ({"when_disk_full": "waits"}, "one of raise, wait, skip\ndid you mean wait?"),
        ({"background": "proces"}, "one of True, False, thread, process\ndid you mean process?"),
        ({"save_on_signals": "TERM"}, "did you mean SIGTERM?"),
        ({"save_on_signals": ["SIGTERM", "sigusr1"]}, "names 'sigusr1'.*\ndid you mean SIGUSR1?"),
        ({"save_on_signals": "SIGKILL"}, "is no signal that a save can answer\nno program can catch SIGKILL; signals"),
    ],
)
def test_a_wrong_word_names_what_would_work(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(StateError, match=hint.replace("?", r"\?")):
        CheckpointConfig(**options)


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("SIGTERM", ("SIGTERM",)),
        (signal.SIGINT, ("SIGINT",)),
        (["SIGUSR1", signal.SIGTERM, "SIGUSR1"], ("SIGUSR1", "SIGTERM")),
        ((), ()),
    ],
)
def test_signals_are_held_by_their_names(given: Any, held: tuple[str, ...]) -> None:
    config = CheckpointConfig(save_on_signals=given)
    assert config.save_on_signals == held
    assert CheckpointConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_times_of_writing_are_held_in_seconds() -> None:
    config = CheckpointConfig(disk_full_wait="2h", signal_save_within="1m 30s", save_every_n_minutes=0.25)
    assert (config.disk_full_wait, config.signal_save_within, config.save_every_n_minutes) == (7200.0, 90.0, 0.25)


@pytest.mark.parametrize("background", [True, False, "thread", "process"])
def test_every_way_of_writing_is_an_option(background: Any) -> None:
    assert CheckpointConfig(background=background).background is background


def test_without_a_metric_the_loss_is_minimised() -> None:
    for minimize in (True, False):
        config = CheckpointConfig(minimize_metric=minimize, keep_best_n_checkpoints=1)
        assert (config.monitor, config.mode, config.to_policy().mode) == ("loss", "min", "min")


@pytest.mark.parametrize(
    "metric", ["accuracy", "val_acc", "eval/F1", "mAP", "top-1 acc@1", "bleu", "episode_reward", "r2_score", "Recall"]
)
def test_a_metric_that_rises_is_minimised_with_a_warning(metric: str) -> None:
    with pytest.warns(UserWarning, match="say minimize_metric=False") as told:
        config = CheckpointConfig(save_on_best_metric=metric)
    assert len(told) == 1 and told[0].filename == __file__ and config.mode == "min"
    CheckpointConfig(save_on_best_metric=metric, minimize_metric=False)


@pytest.mark.parametrize("metric", ["val_loss", "dice_loss", "map_error", "accumulated", "mapping", "scores", "m", "é"])
def test_a_metric_that_may_fall_is_minimised_as_asked(metric: str) -> None:
    assert CheckpointConfig(save_on_best_metric=metric).mode == "min"


def test_it_means_a_policy() -> None:
    policy = CheckpointConfig(
        save_on_best_metric="accuracy",
        minimize_metric=False,
        keep_last_n_checkpoints=5,
        keep_best_n_checkpoints=3,
        keep_checkpoint_every_n_epochs=10,
        keep_checkpoint_every_n_steps=500,
        tag_best_checkpoints=False,
        keep_for=60,
    ).to_policy()
    assert (policy.keep_last, policy.keep_best, policy.monitor, policy.mode) == (5, 3, "accuracy", "max")
    assert (policy.keep_every_n_epochs, policy.keep_every_n_steps) == (10, 500)
    assert (policy.tag_best, policy.keep_for) == (False, 60.0)
    assert not CheckpointConfig().to_policy().has_rules


def test_every_rule_of_a_policy_is_an_option() -> None:
    config = CheckpointConfig(
        keep_best_of={"accuracy": 2},
        keep_every=["1h for 1d", "7d"],
        keep_within="36h",
        keep_steps=[5000, 1000],
        keep_tagged=True,
        max_age="30d",
        max_bytes="200GB",
        missing_metric="ignore",
        metric_grace="2h",
        keep_for="3d",
    )
    assert (config.keep_within, config.max_bytes, config.keep_for) == (36 * 3600.0, 200 * 10**9, 3 * 86400.0)
    assert config.to_policy() == Policy(
        keep_best_of={"accuracy": {"keep": 2, "mode": "max"}},
        keep_every=({"every": 3600.0, "within": 86400.0}, {"every": 7 * 86400.0, "within": None}),
        keep_within=36 * 3600.0,
        keep_steps=(1000, 5000),
        keep_tagged=True,
        max_age=30 * 86400.0,
        max_bytes=200 * 10**9,
        missing_metric="ignore",
        metric_grace=7200.0,
        keep_for=3 * 86400.0,
    )
    assert CheckpointConfig.from_dict(json.loads(json.dumps(config.to_dict()))).to_policy() == config.to_policy()


@pytest.mark.parametrize(
    ("other", "own"),
    [
        ("keep_last", "keep_last_n_checkpoints"),
        ("save_total_limit", "keep_last_n_checkpoints"),
        ("keep_best", "keep_best_n_checkpoints"),
        ("save_top_k", "keep_best_n_checkpoints"),
        ("keep_every_n_epochs", "keep_checkpoint_every_n_epochs"),
        ("keep_every_n_steps", "keep_checkpoint_every_n_steps"),
    ],
)
def test_other_names_are_the_same_options(other: str, own: str) -> None:
    make = CheckpointConfig.from_dict
    config = make({other: 7})
    assert config == make({own: 7}) == make({other: 7, own: 7})
    assert (getattr(config, other), getattr(config, own)) == (7, 7)
    assert getattr(make({own: 7}), other) == 7
    assert other not in config.to_dict()
    with pytest.raises(StateError, match=f"{own} and {other} are two names of one thing"):
        make({other: 7, own: 8})
    with pytest.raises(StateError, match=f"{other} = 0 would keep nothing"):
        make({other: 0})


def test_a_name_from_elsewhere_leads_to_the_option() -> None:
    with pytest.raises(StateError, match="no option 'max_to_keep'\nkeep_last_n_checkpoints is the same"):
        CheckpointConfig(max_to_keep=3)  # type: ignore[call-arg]
    with pytest.raises(StateError, match="to keep every checkpoint, give no rule at all"):
        CheckpointConfig(save_top_k=-1)


def test_the_options_of_an_earlier_run_json_are_read() -> None:
    assert CheckpointConfig.from_dict({"keep_last_n_checkpoints": 2, "keep_for_s": 60.0}) == CheckpointConfig(
        keep_last_n_checkpoints=2, keep_for=60
    )


def test_a_changed_copy_keeps_the_rules() -> None:
    config = CheckpointConfig(save_top_k=3, keep_every="1h")
    changed = dataclasses.replace(config, save_every_n_steps=5)
    assert changed.to_policy() == config.to_policy()
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


def test_it_comes_back_from_its_dictionary() -> None:
    config = CheckpointConfig(save_every_n_steps=7, save_on_best_metric="f1", minimize_metric=False)
    assert CheckpointConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Checkpoint at epoch {epoch}, step {step}", "Checkpoint at epoch 3, step 40"),
        ("{model_name}: {loss:.2f} {val_acc:.1%}", "net: 0.12 50.0%"),
        ("{absent} {{kept}} {step:x>6}", "? {kept} xxxx40"),
        ("{model_name:d}", "?"),
    ],
)
def test_messages_are_filled_in_and_never_fail(template: str, message: str) -> None:
    values = {"epoch": 3, "step": 40, "loss": 0.123, "val_acc": 0.5, "model_name": "net"}
    assert CheckpointConfig(commit_message_template=template).message(values) == message
