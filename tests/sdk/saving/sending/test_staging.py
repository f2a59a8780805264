"""States into memory: the file that torch reads, change detection that is never wrong, no second copy when live."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.exceptions import StateError
from ckpt.saving.sending.devices import DeviceCopies
from ckpt.saving.sending.pickling import Pickled, pickle_envelope
from ckpt.saving.sending.staging import Staging, live_image
from ckpt.writing.image import Image, StagedImage
from ckpt.writing.layout import Layout, lay_out
from ckpt.writing.memory import SharedMemory
from ckpt.writing.sealing import Seal, Sealer

MB = 1 << 20


def taken(state: Any, like: Layout | None = None) -> tuple[Layout, Pickled]:
    pickled = pickle_envelope(state)
    sizes = [storage.nbytes() for storage in pickled.storages]
    return lay_out("step-000001", len(pickled.data), sizes, like), pickled


def sealed(image: Image) -> tuple[bytes, Seal]:
    sealer, whole = Sealer(image.layout, image.known), []
    for chunk in image.chunks():
        sealer.seal(chunk)
        whole.append(bytes(chunk))
    return b"".join(whole), sealer.finish()


def written(staging: Staging, image: StagedImage) -> bytes:
    data, seal = sealed(image)
    staging.remember(image.layout, seal.crcs)
    return data


def loaded(data: bytes) -> Any:
    return torch.load(BytesIO(data), weights_only=True)


def model() -> dict[str, torch.Tensor]:
    return {
        "large": torch.randn(5 * MB // 4 + 3),
        "half": torch.randn(70_000).to(torch.bfloat16),
        "small": torch.arange(10),
        "flag": torch.tensor([True]),
        "none": torch.empty(0),
        "part": torch.randn(300, 40)[:, ::2],
    }


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_lies_in_memory_is_the_file_and_changes_after_the_fill_do_not_reach_it() -> None:
    state, staging = model(), Staging()
    before = {name: tensor.clone() for name, tensor in state.items()}
    image = staging.fill(*taken(state))
    assert image.changed_bytes == sum(tensor.untyped_storage().nbytes() for tensor in state.values())
    for tensor in state.values():
        tensor.zero_()
    assert same(loaded(sealed(image)[0]), before)
    staging.close()


def test_a_live_image_is_the_same_file() -> None:
    state, staging = model(), Staging()
    staged = sealed(staging.fill(*taken(state)))
    live = live_image(*taken(state))
    assert sealed(live) == sealed(live) == staged
    staging.close()


def test_only_what_changed_is_copied_and_summed_again() -> None:
    state, staging = model(), Staging()
    layout, pickled = taken(state)
    written(staging, staging.fill(layout, pickled))
    state["large"][-1] += 1
    state["small"][0] = 7
    image = staging.fill(layout, pickled)
    names = [storage.data_ptr() for storage in pickled.storages]
    changed = {names.index(state[name].data_ptr()) + layout.first_storage for name in ("large", "small")}
    every = set(range(layout.first_storage, layout.first_storage + layout.storages))
    assert set(image.known) == every - changed
    assert image.changed_bytes == state["large"].nbytes + state["small"].nbytes
    assert same(loaded(written(staging, image)), state)
    assert set(staging.fill(layout, pickled).known) == every
    staging.close()


def test_what_was_not_written_is_not_known() -> None:
    state, staging = model(), Staging()
    layout, pickled = taken(state)
    staging.fill(layout, pickled)
    assert not staging.fill(layout, pickled).known
    written(staging, staging.fill(layout, pickled))
    state["large"] += 1
    staging.fill(layout, pickled)
    assert len(staging.fill(layout, pickled).known) == layout.storages - 1
    staging.remember(layout, ())
    assert len(staging.fill(layout, pickled).known) == layout.storages - 1
    staging.close()


def test_a_fill_that_fails_half_way_leaves_nothing_known() -> None:
    state, staging = model(), Staging()
    layout, pickled = taken(state)
    written(staging, staging.fill(layout, pickled))
    with pytest.raises(ValueError, match="pickle"):
        staging.fill(layout, Pickled(pickled.data + b".", pickled.storages))
    assert not staging.fill(layout, pickled).known
    staging.close()


def test_storages_keep_what_is_known_of_them_while_the_pickle_changes_its_size() -> None:
    state: dict[str, Any] = {**model(), "step": 9}
    staging = Staging()
    layout, pickled = taken(state)
    written(staging, staging.fill(layout, pickled))
    state["step"] = 1_000_000
    after, pickled = taken(state, layout)
    assert after != layout
    image = staging.fill(after, pickled)
    assert len(image.known) == layout.storages
    assert loaded(sealed(image)[0])["step"] == 1_000_000
    staging.close()


def test_the_memory_is_reused_and_grows_with_the_model() -> None:
    state, staging = {"w": torch.randn(1000)}, Staging()
    first = staging.fill(*taken(state)).memory
    address, fd = first.address, first.fd
    for _ in range(3):
        again = staging.fill(*taken(state)).memory
        assert (again, again.address, again.fd) == (first, address, fd)
    state["more"] = torch.randn(3 * MB)
    image = staging.fill(*taken(state))
    assert image.memory.size >= image.layout.size > 12 * MB
    assert image.memory.fd == fd
    assert same(loaded(sealed(image)[0]), state)
    del state["more"]
    assert same(loaded(sealed(staging.fill(*taken(state)))[0]), state)
    staging.close()
    assert same(loaded(sealed(staging.fill(*taken(state)))[0]), state)
    staging.close()


def test_large_models_are_copied_by_several_threads_and_all_of_them_arrives() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        state, staging = {str(number): torch.randn(size) for number, size in enumerate([9 * MB, 8 * MB, 77])}, Staging()
        layout, pickled = taken(state)
        data = written(staging, staging.fill(layout, pickled))
        assert same(loaded(data), state)
        state["0"][MB] += 1
        image = staging.fill(layout, pickled)
        assert set(image.known) == {layout.first_storage + 1, layout.first_storage + 2}
        assert same(loaded(sealed(image)[0]), state)
    finally:
        torch.set_num_threads(threads)
    staging.close()


def test_tensors_without_data_are_refused_and_nothing_is_spoiled() -> None:
    state, staging = model(), Staging()
    layout, pickled = taken(state)
    written(staging, staging.fill(layout, pickled))
    meta = Pickled(pickled.data, (torch.empty(10, device="meta").untyped_storage(), *pickled.storages))
    sizes = [storage.nbytes() for storage in meta.storages]
    for act in (staging.fill, live_image):
        with pytest.raises(StateError, match=r"data/0 is a tensor without data"):
            act(lay_out("step-000001", len(pickled.data), sizes), meta)
        with pytest.raises(ValueError, match="other sizes"):
            act(layout, meta)
    assert len(staging.fill(layout, pickled).known) == layout.storages
    staging.close()


def test_memory_that_cannot_be_had_is_refused_and_the_next_fill_works() -> None:
    staging, state = Staging(), model()
    layout, pickled = taken(state)
    too_large = layout.evolve(size=1 << 50)
    for _ in range(2):
        with pytest.raises(MemoryError):
            staging.fill(too_large, pickled)
        assert same(loaded(sealed(staging.fill(layout, pickled))[0]), state)
    staging.close()


def test_a_default_device_and_inference_mode_do_not_matter() -> None:
    state, staging = model(), Staging()
    layout, pickled = taken(state)
    with torch.inference_mode(), torch.device("meta"):
        staged, live = sealed(staging.fill(layout, pickled)), sealed(live_image(layout, pickled))
    assert staged == live
    assert same(loaded(live[0]), state)
    staging.close()


def test_storages_of_devices_land_where_they_belong() -> None:
    memory, copies = SharedMemory(1), DeviceCopies()
    tensors = [torch.randn(1000), torch.empty(0), torch.arange(5)]
    for number, tensor in enumerate(tensors):
        copies.start(tensor.untyped_storage(), memory, number * 8192 + 64)
    copies.finish()
    copies.release()
    for number, tensor in enumerate(tensors):
        size = tensor.nbytes
        got = bytes(memory.view[number * 8192 + 64 : number * 8192 + 64 + size])
        assert got == bytes(tensor.untyped_storage().tolist())
    memory.close()


class Runtime:
    """CUDA's own functions for pinning, as a machine without CUDA can have them."""

    def __init__(self, failure: int) -> None:
        self.failure = failure
        self.pinned: list[int] = []
        self.unpinned: list[int] = []

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        self.pinned.append(address)
        return self.failure

    def cudaHostUnregister(self, address: int) -> int:
        ctypes.string_at(address, 1)  # it must still be mapped
        self.unpinned.append(address)
        return 0


@pytest.mark.parametrize("failure", [0, 2])
@pytest.mark.parametrize("dropped", [False, True])
def test_only_what_was_pinned_is_unpinned_and_before_it_is_unmapped(
    monkeypatch: pytest.MonkeyPatch, failure: int, dropped: bool
) -> None:
    """Regression: unpinning what could not be pinned made the training's next kernel fail."""
    runtime = Runtime(failure)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    memory, copies = SharedMemory(1), DeviceCopies()
    copies._pin(memory, torch.device("cpu"))
    if dropped:
        del memory, copies
    else:
        copies.release()
        copies.release()
    assert len(runtime.pinned) == 1
    assert runtime.unpinned == ([] if failure else runtime.pinned)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_land_as_they_were_when_the_fill_was_asked_for() -> None:
    state = {"gpu": torch.randn(MB, device="cuda"), "cpu": torch.randn(10)}
    staging = Staging()
    for _ in range(2):
        state["gpu"].mul_(2)
        expected = {name: tensor.cpu().clone() for name, tensor in state.items()}
        image = staging.fill(*taken(state))
        state["gpu"].zero_()
        data = written(staging, image)
        assert same(torch.load(BytesIO(data), weights_only=True, map_location="cpu"), expected)
        state["gpu"].normal_()
    assert sealed(live_image(*taken(state))) == sealed(staging.fill(*taken(state)))
    staging.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abcx"), st.integers(0, 40_000), st.booleans()), max_size=12))
def test_a_checksum_that_is_known_is_always_that_of_the_bytes(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever changes, also in size, and whether or not the write between came to an end."""
    state = {name: torch.zeros(20_000, dtype=torch.int16) for name in "abc"}
    staging, layout = Staging(), None
    for name, at, finished in steps:
        if name == "x":
            state["a"] = torch.zeros(at, dtype=torch.int16)
        elif at < len(state[name]):
            state[name][at] += 1
        layout, pickled = taken(state, layout)
        image = staging.fill(layout, pickled)
        for index, crc in image.known.items():
            member = layout.members[index]
            assert crc == zlib.crc32(image.memory.view[member.offset : member.offset + member.size])
        data, seal = sealed(image)
        assert same(loaded(data), state)
        if finished:
            staging.remember(layout, seal.crcs)
    staging.close()


PEAK = """
import sys, torch
from ckpt.saving.sending.pickling import pickle_envelope
from ckpt.saving.sending.staging import Staging, live_image
from ckpt.writing.layout import lay_out
from ckpt.writing.sealing import Sealer
state = {str(number): torch.ones(4 << 20) for number in range(12)}
def peak():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
def save(image):
    sealer = Sealer(image.layout, image.known)
    for chunk in image.chunks():
        sealer.seal(chunk)
    return sealer.finish().crcs
pickled = pickle_envelope(state)
layout = lay_out("s", len(pickled.data), [storage.nbytes() for storage in pickled.storages])
save(live_image(*(lambda p: (lay_out("s", len(p.data), [4]), p))(pickle_envelope(torch.ones(1)))))
before = peak()
save(live_image(layout, pickled))
live = peak() - before
staging = Staging()
for _ in range(3):
    staging.remember(layout, save(staging.fill(layout, pickled)))
    state["3"] += 1
print(live, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_live_image_takes_two_chunks_of_memory_and_a_staged_one_the_size_of_the_model_once() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    live, staged = map(int, done.stdout.split())
    assert live <= 32
    assert staged <= 192 + 32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_fills_memory_of_its_own(tmp_path: Path) -> None:
    code = """
import os, sys, torch
from ckpt.saving.sending.pickling import pickle_envelope
from ckpt.saving.sending.staging import Staging
from ckpt.writing.layout import lay_out
pickled = pickle_envelope({"w": torch.arange(1000)})
layout = lay_out("s", len(pickled.data), [8000])
staging = Staging()
image = staging.fill(layout, pickled)
child = os.fork()
if child == 0:
    pickled.storages[0].fill_(1)
    sys.exit(0 if bytes(staging.fill(layout, pickled).memory.view[:4]) == b"PK\\3\\4" else 1)
assert os.waitpid(child, 0)[1] == 0
at = layout.members[layout.first_storage].offset
assert bytes(image.memory.view[at + 8 : at + 16]) == (1).to_bytes(8, sys.byteorder)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
