"""One machine removes below a root."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.paths import machine_id
from ckpt.trash import Owner
from ckpt.trash.owning import FRESH_S, owner_id

HERE, THERE = "a" * 16, "b" * 16


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path / "owner.json")


def test_the_first_machine_owns_the_place_and_says_so(owner: Owner) -> None:
    assert owner.read() is None
    owned = owner.claim(owner_id(), 1000.0)
    assert owner.read() == owned
    assert (owned.id, owned.claimed_at, owned.seen_at) == (owner_id(), 1000.0, 1000.0)
    assert owned.machine == machine_id()
    assert owned.host == os.uname().nodename
    raw = json.loads(owner.path.read_text())
    assert raw["version"] == 1 and set(raw) == {"version", "id", "machine", "host", "user", "claimed_at"}
    assert stat.S_IMODE(owner.path.stat().st_mode) == 0o600


def test_its_own_claim_is_repeated_and_renewed(owner: Owner) -> None:
    owner.claim(HERE, 1000.0)
    again = owner.claim(HERE, 2000.0)
    assert (again.claimed_at, again.seen_at) == (1000.0, 2000.0)
    assert owner.renew(HERE, 3000.0).seen_at == 3000.0
    assert owner.renew(HERE, 10.0).seen_at == 3000.0, "a clock that went back takes no sign of life away"


def test_a_machine_that_takes_over_meanwhile_is_not_written_over(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.claim(HERE, 1000.0)
    utime = os.utime

    def late(path: Any, times: Any) -> None:
        monkeypatch.setattr(os, "utime", utime)
        owner.claim(THERE, 1500.0, take_over=True)
        utime(path, times)

    monkeypatch.setattr(os, "utime", late)
    with pytest.raises(OperationError, match="this directory is owned by"):
        owner.renew(HERE, 2000.0)
    found = owner.read()
    assert found is not None and (found.id, found.claimed_at) == (THERE, 1500.0)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (FRESH_S - 1, "is at work there"),
        (7200.0, "2 hours ago"),
        (-1e6, "is at work there"),
        (86400.0 * 400, "400 days"),
    ],
)
def test_another_machine_is_refused_whether_the_owner_is_at_work_or_not(owner: Owner, later: float, said: str) -> None:
    owner.claim(HERE, 1000.0)
    before = owner.path.read_bytes()
    with pytest.raises(OperationError, match="this directory is owned by another daemon") as caught:
        owner.claim(THERE, 1000.0 + later)
    assert said in caught.value.message and "another state directory" in caught.value.message
    assert "--take-over" in str(caught.value.hint)
    assert owner.path.read_bytes() == before


def test_a_machine_that_was_taken_over_may_not_act_any_more(owner: Owner) -> None:
    owner.claim(HERE, 1000.0)
    assert owner.claim(THERE, 1001.0, take_over=True).claimed_at == 1001.0
    for act in (lambda: owner.renew(HERE, 1002.0), lambda: owner.claim(HERE, 1002.0)):
        with pytest.raises(OperationError, match="this directory is owned by"):
            act()
    assert owner.release(HERE) is False
    assert owner.release(THERE) is True and owner.read() is None
    with pytest.raises(OperationError, match="this daemon does not own the directory any more"):
        owner.renew(THERE, 1003.0)
    assert owner.read() is None, "a renewal claims nothing"


TORN: list[Any] = [
    b"",
    b'{"version": 1, "machine": "',
    b"[]",
    b"null",
    b"{}",
    b"\xff\xfe\x00",
    json.dumps({"version": 1, "id": HERE, "machine": "m", "host": "h", "user": "u", "claimed_at": "x"}).encode(),
    json.dumps({"version": 1, "id": 5, "machine": "m", "host": "h", "user": "u", "claimed_at": 1}).encode(),
    json.dumps({"version": 1, "id": "", "machine": "m", "host": "h", "user": "u", "claimed_at": 1}).encode(),
    json.dumps({"version": 1, "id": HERE, "machine": "m", "host": "h", "user": "u", "claimed_at": "NaN"}).encode(),
]


@pytest.mark.parametrize("content", TORN)
def test_a_torn_owner_file_is_refused_and_never_guessed(owner: Owner, content: bytes) -> None:
    owner.path.write_bytes(content)
    for act in (owner.read, lambda: owner.claim(HERE, 1.0), lambda: owner.renew(HERE, 1.0)):
        with pytest.raises(OperationError, match="cannot be understood") as caught:
            act()
        assert "--take-over" in str(caught.value.hint)
    assert owner.path.read_bytes() == content
    assert owner.claim(HERE, 5.0, take_over=True).id == HERE


def test_a_later_version_is_refused_even_to_one_that_takes_over(owner: Owner) -> None:
    owner.path.write_text('{"version": 2, "machine": {"id": "x"}}')
    for take_over in (False, True):
        with pytest.raises(OperationError, match="version 2") as caught:
            owner.claim(HERE, 1.0, take_over=take_over)
        assert "update" in str(caught.value.hint)


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(owner: Owner, what: str) -> None:
    owner.path.mkdir() if what == "directory" else os.mkfifo(owner.path)
    with pytest.raises(OperationError, match="cannot be read"):
        owner.claim(HERE, 1.0)


def test_a_place_that_is_not_there_cannot_be_claimed(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be written"):
        Owner(tmp_path / "gone" / "owner.json").claim(HERE, 1.0)


def test_of_many_that_claim_at_once_one_succeeds(owner: Owner) -> None:
    names = [f"{number:016x}" for number in range(1, 9)]
    won: list[str] = []
    gate = threading.Barrier(len(names))

    def claim(name: str) -> None:
        gate.wait()
        try:
            won.append(owner.claim(name, 1.0).id)
        except OperationError:
            pass

    threads = [threading.Thread(target=claim, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = owner.read()
    assert found is not None and won == [found.id]


def test_who_has_a_state_directory_of_its_own_is_another_owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = owner_id()
    assert first == owner_id() and len(first) == 16
    monkeypatch.setenv("CKPTD_STATE_HOME", str(tmp_path / "other"))
    second = owner_id()
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    assert len({first, second, owner_id()}) == 3


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"machine": "f" * 16, "host": "lab3", "user": "eva"}, "user eva on another machine, lab3 (ffffffffffffffff)"),
        ({"machine": "f" * 16, "host": "lab3", "user": ""}, "another machine, lab3 (ffffffffffffffff)"),
        ({"user": "somebody-else"}, "user somebody-else on this machine"),
        ({"user": ""}, "somebody else on this machine"),
        ({"user": "eva\x1b[2J"}, "user eva\\x1b[2J on this machine"),
    ],
)
def test_an_owner_is_named(owner: Owner, changes: dict[str, str], shown: str) -> None:
    assert owner.claim(HERE, 1.0).evolve(**changes).shown == shown


def test_a_sign_of_life_that_cannot_be_given_stops_nothing(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.claim(HERE, 1000.0)

    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "utime", full)
    monkeypatch.setattr("ckpt.files.write_json", full)
    assert owner.renew(HERE, 2000.0).id == HERE
    assert owner.claim(HERE, 2000.0).id == HERE
    with pytest.raises(OperationError, match="No space left") as caught:
        owner.claim(THERE, 2000.0, take_over=True)
    assert "to the last byte" in str(caught.value.hint)
