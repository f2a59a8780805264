"""Names on disk, and where the user's own directories are."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from ckpt import files, paths
from ckpt.exceptions import OperationError


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No home, no runtime directory, nothing chosen; a sticky directory of this test in place of /tmp."""
    for name in ("CKPTD_CONFIG_HOME", "CKPTD_STATE_HOME", "CKPTD_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/")
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr(paths, "_TMP", shared)
    return shared


def test_the_names_of_a_run() -> None:
    run = paths.RunPaths(Path("/runs/exp3"))
    assert run.manifest == Path("/runs/exp3/run.json")
    assert run.trash == Path("/runs/exp3/.trash")
    assert run.best == Path("/runs/exp3/checkpoints/best.pt")
    assert run.marker_of(run.checkpoints / "step-000001.pt") == run.checkpoints / "step-000001.json"
    assert {run.latest.name, run.best.name} == paths.POINTER_NAMES


@pytest.mark.parametrize(
    ("step", "epoch", "stem"),
    [
        (1200, 3.0, "step-001200"),
        (0, None, "step-000000"),
        (12345678, None, "step-12345678"),
        (None, 3, "epoch-0003"),
        (None, 3.0, "epoch-0003"),
        (None, 2.5, "epoch-2.5"),
        (None, float("nan"), "epoch-nan"),
        (None, None, "checkpoint"),
    ],
)
def test_a_checkpoint_is_named_by_its_step_or_epoch(step: int | None, epoch: float | None, stem: str) -> None:
    assert paths.checkpoint_stem(step, epoch) == stem


@pytest.mark.parametrize("name", [".tmp_step", "tmp.pt", "x.tmp", ".step-1.pt.77-0123abcd.tmp"])
def test_names_of_writes_in_progress(name: str) -> None:
    assert paths.is_temporary(name)


@pytest.mark.parametrize("name", ["step-000001.pt", "tmpfile.pt", "attempt.json", "template.pt"])
def test_names_of_finished_files(name: str) -> None:
    assert not paths.is_temporary(name)


def test_the_temporary_names_that_are_made_are_recognised() -> None:
    made = files.temporary_name(Path("/x") / ("y" * 255))
    assert paths.is_temporary(made.name) and len(os.fsencode(made.name)) <= 255
    match = paths.TEMPORARY.match(made.name)
    assert match is not None and int(match["pid"]) == os.getpid()


def test_each_place_can_be_chosen(own_places: Path) -> None:
    assert paths.config_home() == own_places / "config"
    assert paths.state_home() == own_places / "state"
    assert paths.runtime_dir() == own_places / "run"
    assert paths.StatePaths.here().directory == own_places / "state" / paths.machine_id()


def test_without_a_home_a_private_directory_serves(homeless: Path) -> None:
    base = homeless / f"ckptd-{os.getuid()}"
    assert paths.config_home() == base / "config"
    assert paths.state_home() == base / "state"
    assert paths.runtime_dir() == base / "run"
    assert stat.S_IMODE(base.stat().st_mode) == 0o700


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_fallback_that_others_could_reach_is_refused(homeless: Path, trap: str) -> None:
    base = homeless / f"ckptd-{os.getuid()}"
    if trap == "open":
        base.mkdir()
        base.chmod(0o755)
    elif trap == "link":
        (homeless / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(homeless / "elsewhere")
    else:
        base.write_text("")
    for place in (paths.runtime_dir, paths.state_home, paths.config_home):
        with pytest.raises(OperationError, match="not a private directory of this user"):
            place()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to somebody else")
def test_a_fallback_of_somebody_else_is_refused(homeless: Path) -> None:
    base = homeless / f"ckptd-{os.getuid()}"
    base.mkdir(mode=0o700)
    os.chown(base, 65534, 65534)
    with pytest.raises(OperationError, match="not a private directory of this user"):
        paths.state_home()


def test_a_fallback_that_cannot_be_made_is_an_error_of_ours(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_TMP", homeless / "gone")
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "gone too"))
    with pytest.raises(OperationError, match="cannot be made"):
        paths.state_home()


def test_without_a_home_the_state_does_not_depend_on_tmpdir(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths.state_home()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(homeless.parent))
    assert paths.state_home() == before == homeless / f"ckptd-{os.getuid()}" / "state"


def test_a_shared_directory_without_the_sticky_bit_is_not_used(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homeless.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(homeless.parent))
    assert paths.state_home().parent.parent == homeless.parent


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, homeless: Path) -> Path:
    """A home of this test, and nothing chosen."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has directories of its own")
def test_the_state_is_found_whatever_xdg_says_and_the_config_where_it_says(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    assert paths.config_home() == home / ".config" / "ckptd"
    assert paths.state_home() == home / ".local" / "state" / "ckptd"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "s"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    assert paths.config_home() == home / "c" / "ckptd"
    assert paths.state_home() == home / ".local" / "state" / "ckptd"
    assert paths.runtime_dir() == home / "ckptd"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert paths.config_home() == home / ".config" / "ckptd"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has directories of its own")
def test_a_home_that_cannot_be_written_still_holds_the_config(
    monkeypatch: pytest.MonkeyPatch, home: Path, homeless: Path
) -> None:
    (home / ".local").write_text("no directory can be made here")
    assert paths.state_home().is_relative_to(homeless)
    assert paths.config_home() == home / ".config" / "ckptd"


def test_places_given_relatively_are_meant_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CKPTD_STATE_HOME", "state")
    assert paths.state_home() == tmp_path / "state"


def test_a_socket_path_is_short_enough_to_bind(
    monkeypatch: pytest.MonkeyPatch, own_places: Path, homeless: Path
) -> None:
    monkeypatch.setenv("CKPTD_RUNTIME_DIR", str(own_places / "run"))
    assert paths.socket_path() == own_places / "run" / "ckptd.sock"
    monkeypatch.setattr(paths, "_TMP", own_places)
    own_places.chmod(0o1777)
    monkeypatch.setenv("CKPTD_RUNTIME_DIR", "/" + "long" * 40)
    short = paths.socket_path()
    assert len(os.fsencode(short)) <= paths.SUN_PATH_MAX
    monkeypatch.setenv("CKPTD_RUNTIME_DIR", "/" + "else" * 40)
    assert paths.socket_path() != short


def test_a_machine_has_one_id() -> None:
    assert paths.machine_id() == paths.machine_id()
    assert len(paths.machine_id()) == 16


def test_machines_of_one_image_differ_by_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = tmp_path / "machine-id"
    image.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(paths, "_MACHINE_IDS", (str(image),))
    ids = set()
    for name in ("node1", "node2"):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        ids.add(paths.machine_id())
    image.write_bytes(b"\xff")
    ids.add(paths.machine_id())
    image.unlink()
    assert paths.machine_id() in ids  # unreadable and missing are the same
    assert len(ids) == 3


def test_relative_to_leaves_strangers_alone() -> None:
    assert paths.relative_to("/a/b/c", "/a") == "b/c"
    assert paths.relative_to("/ab", "/a") == "/ab"


@pytest.mark.parametrize(
    ("path", "directory", "inside"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a/b/c", "/a/b/", True),
        ("/a", "/", True),
        ("/", "/", True),
    ],
)
def test_what_lies_in_a_directory_is_told_by_whole_names(path: str, directory: str, inside: bool) -> None:
    assert paths.is_inside(path, directory) is inside
