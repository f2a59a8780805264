from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt.exceptions import AddressError, StateError, UsageError
from ckptd.config.values import Root
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched


def test_a_root_is_kept_over_a_restart_and_a_session_is_not(tmp_path: Path) -> None:
    store = tmp_path / "roots.json"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    roots = Roots(store)
    roots.add(str(tmp_path / "a"), "observe", ["x*"])
    roots.add(str(tmp_path / "b"), "observe", [], keep=False)
    again = Roots(store)
    assert again.load(()) == []
    assert [(w.root.path, w.root.exclude) for w in again.all()] == [(str(tmp_path / "a"), ("x*",))]


@pytest.mark.parametrize(("name", "said"), [("missing", "does not exist"), ("file", "is a file")])
def test_what_cannot_be_a_root_says_why(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError) as error:
        Roots(None).add(str(tmp_path / name), "observe", [])
    assert said in str(error.value)


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="drops root's rights to test")
def test_an_unreadable_directory_says_so(tmp_path: Path) -> None:
    base = Path("/tmp") / f"ckptd-unreadable-{os.getpid()}"
    (base / "closed").mkdir(parents=True)
    (base / "closed").chmod(0)
    code = (
        "import os; from ckptd.roots.roots import Roots; os.setgid(65534); os.setuid(65534)\n"
        f"try: Roots(None).add({str(base / 'closed')!r}, 'observe', [])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        (base / "closed").rmdir()
        base.rmdir()
    assert "UsageError" in done.stdout
    assert "cannot be read: Permission denied" in done.stdout


def test_enforcing_is_kept_over_a_restart_with_its_policy(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    store, path = tmp_path / "roots.json", str(tmp_path / "a")
    roots = Roots(store)
    watched, _ = roots.add(path, None, [])
    assert (watched.root.mode, watched.enforced, watched.waits) == ("observe", False, False)
    roots.propose(path, {"keep_last_n_checkpoints": 3, "keep_for": "36h"})
    assert roots.known(path).root.policy == {}
    roots.enforce(path)
    for known in (roots, _loaded(store)):
        watched = known.known(path)
        assert (watched.enforced, watched.root.policy) == (True, {"keep_last": 3, "keep_for": 129600.0})
    roots.set_policy(path, {"keep_best": 1})
    roots.observe(path)
    watched = _loaded(store).known(path)
    assert (watched.root.mode, watched.confirmed, watched.root.policy) == ("observe", False, {"keep_best": 1})


def test_files_of_before_policies_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    store = tmp_path / "roots.json"
    old = {"path": str(tmp_path / "a"), "mode": "observe", "exclude": ["x*"]}
    store.write_text(json.dumps({"format": 1, "roots": [old], "seen": [], "disks": []}))
    (watched,) = _loaded(store).all()
    assert watched.root == Root(path=old["path"], exclude=("x*",), origin="command")
    assert not watched.confirmed


def test_naming_an_enforced_root_again_leaves_it_so_unless_another_directory_stands_there(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    roots = Roots(tmp_path / "roots.json")
    roots.add(str(runs), None, [])
    roots.propose(str(runs), {"keep_last": 3})
    roots.enforce(str(runs))
    again, _ = roots.add(str(runs), None, ["old*"])
    assert (again.enforced, again.root.policy, again.root.exclude) == (True, {"keep_last": 3}, ("old*",))
    runs.rename(tmp_path / "elsewhere")
    runs.mkdir()
    again, _ = roots.add(str(runs), None, [])
    assert (again.enforced, again.waits, again.root.policy) == (False, True, {"keep_last": 3})
    assert _loaded(tmp_path / "roots.json").known(str(runs)).waits


def test_an_enforced_directory_under_a_new_name_stays_enforced(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    roots = Roots(None)
    roots.add(str(tmp_path / "runs"), None, [])
    roots.propose(str(tmp_path / "runs"), {"keep_last": 3})
    roots.enforce(str(tmp_path / "runs"))
    (tmp_path / "runs").rename(tmp_path / "new")
    added, _ = roots.add(str(tmp_path / "new"), None, [])
    assert (added.moved_from, added.enforced, added.root.policy) == (str(tmp_path / "runs"), True, {"keep_last": 3})


def test_a_root_around_an_enforced_one_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    roots = Roots(None)
    roots.add(str(inner), None, [])
    roots.enforce(str(inner))
    with pytest.raises(UsageError, match="which is enforced") as error:
        roots.add(str(tmp_path / "a"), None, [])
    assert error.value.hint == f"first `ckpt watch add {inner} --observe`, which ends its enforcement"
    assert [w.root.path for w in roots.all()] == [str(inner)]


def test_what_is_too_much_to_be_meant_is_never_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "me" / "runs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    said = {"/": "the whole file system", f"{tmp_path}/home/me": "is a home", f"{tmp_path}/home": "holds home"}
    for path, words in said.items():
        roots = Roots(None)
        roots.add(path, None, [])
        with pytest.raises(UsageError, match=words):
            roots.propose(path, None)
        with pytest.raises(UsageError, match=words):
            roots.enforce(path)
    roots = Roots(None)
    roots.add(f"{tmp_path}/home/me/runs", None, [])
    assert roots.enforce(f"{tmp_path}/home/me/runs").enforced


def test_a_root_of_config_toml_is_what_stands_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = str(tmp_path / "a")
    said = Root(path=path, mode="enforce", policy={"keep_last": 3}, origin="config.toml")
    roots = Roots(tmp_path / "roots.json")
    roots.load([said])
    assert roots.known(path).waits
    with pytest.raises(UsageError, match="its policy is what stands there"):
        roots.set_policy(path, {"keep_last": 1})
    with pytest.raises(UsageError, match="with mode enforce"):
        roots.observe(path)
    assert roots.enforce(path).enforced
    again = Roots(tmp_path / "roots.json")
    again.load([said])
    assert again.known(path).enforced
    again.load([said.evolve(mode="observe")])
    assert not again.known(path).enforced
    with pytest.raises(UsageError, match="mode observe"):
        again.enforce(path)
    again.load([said])
    assert again.known(path).waits


def test_a_policy_of_many_runs_never_includes_what_is_unknown(tmp_path: Path) -> None:
    roots = Roots(None)
    roots.add(str(tmp_path), None, [])
    for act in (roots.propose, roots.set_policy):
        with pytest.raises(StateError, match="holds for a run that is named"):
            act(str(tmp_path), {"include_unknown": True})
    with pytest.raises(StateError, match="did you mean keep_last"):
        roots.set_policy(str(tmp_path), {"keep_lst": 3})


def _loaded(store: Path) -> Roots:
    roots = Roots(store)
    assert roots.load(()) == []
    return roots


def test_inside_is_refused_and_around_takes_over(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    roots = Roots(tmp_path / "roots.json")
    roots.add(str(tmp_path / "a" / "b"), "observe", [])
    _, absorbed = roots.add(str(tmp_path / "a"), "observe", [])
    assert [w.root.path for w in absorbed] == [str(tmp_path / "a" / "b")]
    with pytest.raises(UsageError, match="already watched by"):
        roots.add(str(tmp_path / "a" / "b"), "observe", [])
    assert [w.root.path for w in roots.all()] == [str(tmp_path / "a")]


def test_a_name_that_only_begins_alike_is_not_inside(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs2").mkdir()
    roots = Roots(None)
    roots.add(str(tmp_path / "runs"), "observe", [])
    roots.add(str(tmp_path / "runs2"), "observe", [])
    assert len(roots.all()) == 2


def test_what_config_names_is_changed_there(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    roots = Roots(None)
    roots.load([Root(path=str(inner), origin="config.toml")])
    with pytest.raises(UsageError, match=r"config\.toml"):
        roots.remove(str(inner))
    with pytest.raises(UsageError, match=r"config\.toml"):
        roots.add(str(tmp_path), "observe", [])


def test_removing_what_is_not_watched_says_what_is(tmp_path: Path) -> None:
    roots = Roots(None)
    roots.add(str(tmp_path), "observe", [])
    with pytest.raises(AddressError) as error:
        roots.remove(str(tmp_path / "other"))
    assert error.value.candidates == (str(tmp_path),)


def test_a_directory_in_the_place_of_another_is_not_believed(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    place.mkdir()
    watched = Watched(Root(path=str(place)))
    assert watched.check() is None
    place.rename(tmp_path / "old")
    assert "cannot be reached" in (watched.check() or "")
    place.mkdir()
    assert "another directory" in (watched.check() or "")


def test_a_list_that_cannot_be_used_is_told_and_stops_nothing(tmp_path: Path) -> None:
    store = tmp_path / "roots.json"
    store.write_text('{"roots": [{"nope": 1}]}')
    assert "cannot be used" in Roots(store).load(())[0]


def test_a_reload_keeps_what_this_life_was_given(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    roots = Roots(tmp_path / "roots.json")
    roots.add(str(tmp_path / "a"), "observe", [], keep=False)
    watched = roots.all()[0]
    roots.load(())
    assert roots.all() == [watched]


def test_what_is_left_out_everywhere_is_left_out_below_each_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    roots = Roots(None)
    roots.load([Root(path=str(tmp_path / "a"), exclude=("one",), origin="config.toml")], everywhere=["two"])
    watched = roots.all()[0]
    assert watched.patterns == ("one", "two")
    assert watched.excludes.covers(str(tmp_path / "a" / "two" / "x"))
    roots.load([watched.root])
    assert watched.patterns == ("one",)


def test_which_directory_a_root_was_is_remembered_and_written_only_when_it_changes(tmp_path: Path) -> None:
    store = tmp_path / "roots.json"
    (tmp_path / "a").mkdir()
    configured = [Root(path=str(tmp_path / "a"), origin="config.toml")]
    roots = Roots(store)
    roots.load(configured)
    assert roots.all()[0].check() is None
    roots.remember()
    written = store.stat()
    roots.remember()
    assert store.stat().st_ino == written.st_ino
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    again = Roots(store)
    assert again.load(configured) == []
    assert "another directory" in (again.all()[0].check() or "")
    assert str(tmp_path / "b") in (again.all()[0].check() or "")


def test_a_renamed_root_of_config_stays_until_it_is_changed_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    roots = Roots(None)
    roots.load([Root(path=str(tmp_path / "a"), origin="config.toml")])
    assert roots.all()[0].check() is None
    (tmp_path / "a").rename(tmp_path / "b")
    added, _ = roots.add(str(tmp_path / "b"), "observe", [])
    assert added.moved_from == str(tmp_path / "a")
    assert [w.root.path for w in roots.all()] == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_what_a_command_named_stays_when_config_names_it_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "runs" / "inner").mkdir(parents=True)
    runs = str(tmp_path / "runs")
    roots = Roots(tmp_path / "roots.json")
    roots.load(())
    roots.add(f"{runs}/inner", "observe", [])
    for configured in ([Root(path=runs, origin="config.toml")], [Root(path=f"{runs}/inner", origin="config.toml")]):
        roots.load(configured)
        roots.remember()
        assert [w.root.origin for w in roots.all()] == ["config.toml"]
    roots.load(())
    assert [(w.root.path, w.root.origin) for w in roots.all()] == [(f"{runs}/inner", "command")]
