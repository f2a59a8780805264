"""The writer program by itself, over a socket that the test holds."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckpt.runs import Run
from ckpt.writing.carriers.messages import Came, Channel, Message, Ready, Told, Write, decode, encode
from ckpt.writing.carriers.program import Memories
from ckpt.writing.carriers.writer import Writer
from ckpt.writing.jobs import Failure, Job, Outcome
from ckpt.writing.layout import Layout, frame, lay_out
from ckpt.writing.memory import SharedMemory

PERFORM = "ckpt.writing.performing:perform"


@pytest.fixture
def layout() -> Layout:
    return lay_out("archive", len(pickle.dumps({"format_version": 1}, 2)), [100_000])


def order(layout: Layout, run: Run, number: int, memory: SharedMemory) -> Write:
    marker = {"run": run.id, "seq": number, "attempt": 1, "step": number, "saved_at": time.time(), "metrics": {}}
    job = Job(number=number, run=os.fsencode(run.paths.directory), stem=f"step-{number:06d}", marker=marker)
    return Write(job=job, layout=layout, known={}, memory=1, memory_size=memory.size)


def filled(layout: Layout) -> SharedMemory:
    memory = SharedMemory(layout.size)
    for offset, data in frame(layout, pickle.dumps({"format_version": 1}, 2)):
        memory.view[offset : offset + len(data)] = data
    return memory


def test_messages_come_as_they_went(layout: Layout) -> None:
    odd = {"name": ["\ud800", -(2**64), 2**64, 1.5, None, {"deep": float("-inf")}]}
    job = Job(number=1, run=b"/r\xff", stem="s", taken=("a\udc80.pt",), marker=odd)
    messages: list[Message] = [
        Write(job=job, layout=layout, known={3: 4}, memory=1, memory_size=2, dropped=(7,)),
        Ready(),
        Told(text="the disk is full"),
        Came(outcome=Outcome(number=1, failure=Failure(kind="full", message="m \udc80", errno=28), crcs=(1, 2**32))),
    ]
    for message in messages:
        assert decode(encode(message)) == message


def test_what_no_message_can_hold_is_refused(layout: Layout) -> None:
    job = Job(number=1, run=b"r", stem="s", marker={"object": object()})
    with pytest.raises(TypeError):
        encode(Write(job=job, layout=layout, known={}, memory=1, memory_size=2))


@pytest.mark.parametrize(
    "sent",
    [b"", b"\0\0\0", struct.pack("!Q", 100) + b"half", struct.pack("!Q", 3) + b"\xc1\xc1\xc1"],
)
def test_half_a_message_or_nonsense_is_none_and_leaves_no_descriptor(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))
    channel = Channel(theirs, os.getpid())
    with open(os.devnull) as null, ours:
        if sent:
            socket.send_fds(ours, [sent], [null.fileno()])
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()
    channel.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_what_was_given_completely_is_done_after_the_end_of_the_channel(tmp_path: Path, layout: Layout) -> None:
    memory = filled(layout)
    assert memory.fd is not None
    with Run.create("exp", tmp_path) as run:
        writer = Writer(PERFORM)
        for number in (1, 2):
            writer.channel.send(order(layout, run, number, memory), [memory.fd])
        writer.channel._end.sendall(struct.pack("!Q", 1000) + b"the third, half given")
        writer.channel.finish()
        assert writer.channel.receive() == (Ready(), [])
        came = [writer.channel.receive()[0] for _ in range(2)]
        assert [isinstance(message, Came) and message.outcome.failure for message in came] == [None, None]
        with pytest.raises(EOFError):
            writer.channel.receive()
        assert writer.bury() == "ended with status 0"
        assert [c.step for c in run.checkpoints()] == [2, 1]


def test_a_writer_that_cannot_import_says_why() -> None:
    writer = Writer("ckpt.writing.performing:nothing_of_that_name")
    with pytest.raises(EOFError):
        writer.channel.receive()
    assert "nothing_of_that_name" in writer.bury()
    assert not writer.ready


def test_a_memory_is_mapped_once_and_anew_when_it_grew() -> None:
    memory, memories = SharedMemory(1 << 20), Memories()
    assert memory.fd is not None
    first = memories.take(1, os.dup(memory.fd), memory.size)
    before = len(os.listdir("/proc/self/fd"))
    assert memories.take(1, os.dup(memory.fd), memory.size) is first
    assert len(os.listdir("/proc/self/fd")) == before
    memory.grow(memory.size + 1)
    memory.view[memory.size - 1] = 7
    second = memories.take(1, os.dup(memory.fd), memory.size)
    assert first.closed and second.view[-1] == 7
    memories.drop(1)
    memories.drop(1)
    assert second.closed and len(os.listdir("/proc/self/fd")) == before - 1


def test_the_other_side_may_be_gone_before_it_is_looked_at(layout: Layout) -> None:
    """Although a child of it holds the channel open, what came is read, and no more is waited for."""
    with subprocess.Popen([sys.executable, "-c", ""]) as training:
        pass
    ours, held = socket.socketpair()
    sender, channel = Channel(held, os.getpid()), Channel(ours, training.pid)
    sender.send(Told(text="the last"))
    assert channel.wait() and channel.receive() == (Told(text="the last"), [])
    with pytest.raises(EOFError):
        channel.receive()
    sender.close()
    channel.close()
