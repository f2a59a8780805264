"""What is no file, files that change while they are read, and directories too large or too deep to be a checkpoint."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
import torch

from ckpt.formats import inspect, inspection_to_json
from ckpt.formats.directories.bounds import MAX_DEPTH, MAX_FILES
from ckpt.formats.directories.folder import Folder
from ckpt.formats.reading import family_of
from ckpt.formats.source import Source, TooLarge, Unreadable


def save(path: Path, step: int = 1, size: int = 64) -> Path:
    torch.save({"model": {"w": torch.zeros(size)}, "global_step": step}, path)
    return path


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "loop", "dangling", "directory"])
def test_what_is_no_file_is_an_error_and_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pt"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to("a.pt")
    elif kind == "dangling":
        path.symlink_to("nothing")
    else:
        path.mkdir()
    with pytest.raises(OSError):
        inspect(path)


@pytest.mark.parametrize("kind", ["fifo", "loop", "directory"])
def test_a_member_that_is_no_file_is_not_there(tmp_path: Path, kind: str) -> None:
    member = tmp_path / "a.pt"
    {"fifo": lambda: os.mkfifo(member), "loop": lambda: member.symlink_to("a.pt"), "directory": member.mkdir}[kind]()
    with Folder(str(tmp_path), family_of) as folder:
        assert folder.files == {}
        with pytest.raises(Unreadable, match="missing"):
            folder.open("a.pt")


def test_a_member_that_becomes_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    save(tmp_path / "a.pt")
    with Folder(str(tmp_path), family_of) as folder:
        (tmp_path / "a.pt").unlink()
        os.mkfifo(tmp_path / "a.pt")
        with pytest.raises(OSError, match="regular file"):
            folder.open("a.pt")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.pt", b"a\nb.pt", b"\x1b[2J\x1b]0;x\x07.pt", b"-x.pt", b"\xe2\x80\xae.pt", b" .pt"]
)
def test_names_are_escaped_wherever_they_are_shown(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as stream:
        stream.write(b"\x80\x02" + b"c" + name.replace(b"\n", b" ") + b"\n" + b"x\n)R.")
    found = inspect(os.fsdecode(path))
    text = str(inspection_to_json(found)["problems"]) + str(inspection_to_json(found)["unknown_globals"])
    assert not set(text) & {chr(n) for n in (*range(32), 127, *range(0xDC80, 0xDD00), 0x202E)}


def test_a_file_that_shrinks_grows_or_is_replaced_meanwhile_gets_an_answer(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", size=100_000)
    whole = path.read_bytes()
    over = threading.Event()

    def change() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            if turn % 3 == 0:
                os.truncate(path, turn * 997 % len(whole))
            elif turn % 3 == 1:
                with open(path, "ab") as stream:
                    stream.write(whole[: turn * 31 % len(whole)])
            else:
                (tmp_path / "b.pt").write_bytes(whole)
                os.replace(tmp_path / "b.pt", path)

    changing = threading.Thread(target=change)
    changing.start()
    states = set()
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            states.add(inspect(path).state)
    finally:
        over.set()
        changing.join()
    assert states <= {"complete", "incomplete", "corrupt"}


def test_a_source_that_was_closed_does_not_go_on_in_another_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt")
    with Source(path) as source:
        source.close()
        save(tmp_path / "b.pt", size=9000)
        os.replace(tmp_path / "b.pt", path)
        with pytest.raises(Unreadable, match="another file"):
            source.read(0, 4)


def test_directories_deeper_than_any_checkpoint_are_left_alone(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(100):
        deep = deep / "d"
        deep.mkdir()
    save(deep / "a.pt")
    with pytest.raises(TooLarge, match=f"{MAX_DEPTH} levels"):
        Folder(str(tmp_path), family_of)


def test_directories_with_more_files_than_any_checkpoint_are_left_alone(tmp_path: Path) -> None:
    base = tmp_path / "checkpoint-1"
    base.mkdir()
    save(base / "a.pt")
    # Hard links have a bound of their own in most file systems: a few files with many names each.
    made = 0
    while made <= MAX_FILES:
        first = base / f"f{made}"
        first.touch()
        made += 1
        for _ in range(20_000):
            os.link(first, base / f"f{made}")
            made += 1
    start = time.process_time()
    with pytest.raises(TooLarge, match=f"{MAX_FILES} files"):
        Folder(str(base), family_of)
    assert time.process_time() - start < 10


def test_members_of_a_terabyte_are_not_read(tmp_path: Path) -> None:
    for name, head in (("a.pt", b"PK\x03\x04"), ("a.json", b"{"), ("a.safetensors", struct.pack("<Q", 2) + b"{}")):
        with open(tmp_path / name, "wb") as stream:
            stream.write(head)
            stream.truncate(1 << 40)
    with Folder(str(tmp_path), family_of) as folder:
        for name, read in (("a.pt", folder.open), ("a.json", folder.json), ("a.safetensors", folder.open)):
            with pytest.raises(Unreadable):
                read(name)
            folder.print_of(name)
        assert folder.bytes_read < 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_member_without_permission_is_an_error_that_names_it(tmp_path: Path) -> None:
    save(tmp_path / "a.pt")
    (tmp_path / "a.pt").chmod(0)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        said = b"nothing"
        try:
            os.chdir(tmp_path)
            os.seteuid(65534)
            with Source("a.pt"):
                said = b"opened"
        except PermissionError as error:
            said = str(error.filename).encode()
        finally:
            os.write(write, said)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"a.pt"
    os.close(read)
    os.close(write)
