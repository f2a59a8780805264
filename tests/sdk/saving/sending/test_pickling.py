"""Pickles are those of torch.save, and the file made of one comes back bit for bit, with what is tied still tied."""

from __future__ import annotations

import collections
import copy
import io
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckpt import formats
from ckpt.exceptions import StateError
from ckpt.saving.sending.pickling import Pickled, pickle_envelope
from ckpt.writing.layout import Layout, frame, lay_out
from ckpt.writing.sealing import Sealer

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
OTHERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64, torch.complex128]
NEW = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]


def raw(storage: torch.UntypedStorage) -> bytes:
    return torch.empty(0, dtype=torch.uint8).set_(storage.cpu()).numpy().tobytes()


def image_of(pickled: Pickled, stem: str = "step-000010") -> tuple[Layout, bytearray]:
    layout = lay_out(stem, len(pickled.data), [storage.nbytes() for storage in pickled.storages])
    image = bytearray(layout.size)
    for offset, part in frame(layout, pickled.data):
        image[offset : offset + len(part)] = part
    for member, storage in zip(layout.members[layout.first_storage :], pickled.storages, strict=False):
        image[member.offset : member.offset + member.size] = raw(storage)
    sealer = Sealer(layout, {})
    sealer.seal(memoryview(image))
    sealer.finish()
    return layout, image


def written(value: Any, path: Path) -> Pickled:
    """A file made by our own parts."""
    pickled = pickle_envelope(value)
    path.write_bytes(image_of(pickled, path.stem)[1])
    return pickled


def by_torch(value: Any) -> tuple[bytes, list[bytes], list[str]]:
    """What torch.save makes of the value: data.pkl, contents of the storages, names."""
    stream = io.BytesIO()
    torch.save(value, stream)
    with zipfile.ZipFile(stream) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
        storages = [archive.read(f"archive/{name}") for name in names if name.startswith("data/")]
        return archive.read("archive/data.pkl"), storages, names


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def sharing(value: Any) -> list[int]:
    """For each tensor the first tensor whose memory it uses."""
    seen: dict[int, int] = {}
    return [seen.setdefault(t.untyped_storage()._cdata, at) for at, t in enumerate(tensors_in(value))]


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike to the last bit, NaN and -0.0 told apart, strides included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        facts = [(t.dtype, t.shape, t.stride(), t.storage_offset(), t.requires_grad) for t in (one, other)]
        bits = [(t.is_conj(), t.is_neg(), raw(t.untyped_storage())) for t in (one, other)]
        return facts[0] == facts[1] and bits[0] == bits[1]
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


@st.composite
def memories(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(FLOATS + OTHERS + NEW))
    count = draw(st.integers(0, 24))
    data = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if dtype is torch.bool:
        data = bytes(byte & 1 for byte in data)
    return torch.frombuffer(bytearray(data), dtype=dtype).clone() if data else torch.empty(0, dtype=dtype)


@st.composite
def views(draw: st.DrawFn, memory: torch.Tensor) -> torch.Tensor:
    """A tensor over a memory, mostly not all of it, in an order of its own."""
    count = memory.numel()
    start = draw(st.integers(0, count))
    rows = draw(st.integers(0, 4))
    width = (count - start) // rows if rows else 0
    made = memory[start : start + rows * width].view(rows, width)
    kind = draw(st.sampled_from(["whole", "rows", "turned", "expanded", "scalar"]))
    if kind == "whole":
        return memory
    if kind == "turned":
        return made.t()
    if kind == "expanded":
        return made.unsqueeze(0).expand(3, rows, width)
    return memory[start] if kind == "scalar" and start < count else made


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """Nested data with tensors, some of which share memory."""
    shared = draw(st.lists(memories(), min_size=1, max_size=4))
    tensors = st.sampled_from(shared).flatmap(views)
    leaves = (
        tensors
        | st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        | st.binary(min_size=1, max_size=8)  # torch writes empty ones so that its own safe loader refuses them
    )
    keys = st.text(max_size=5, alphabet="ab.0é") | st.integers(-3, 300)
    nested = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict)
        ),
        max_leaves=12,
    )
    return draw(st.dictionaries(st.text(max_size=4, alphabet="ab."), nested, min_size=1, max_size=4))


@given(states())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_state_gives_the_pickle_and_the_storages_of_torch_save(state: dict[str, Any]) -> None:
    pickled = pickle_envelope(state)
    data, storages, _ = by_torch(state)
    assert pickled.data == data
    assert [raw(storage) for storage in pickled.storages] == storages


@given(state=states(), stem=st.sampled_from(["step-000010", "e", "épochs and more"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_state_comes_back_bit_for_bit(
    state: dict[str, Any], stem: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("pickling")
    path, theirs = directory / f"{stem}.pt", directory / "theirs.pt"
    written(state, path)
    for options in ({}, {"mmap": True}):
        loaded = torch.load(path, weights_only=True, **options)
        assert same(loaded, state)
        # Memory of no bytes is not shared after loading, not by torch.save's files either.
        torch.save(state, theirs)
        assert sharing(loaded) == sharing(torch.load(theirs, weights_only=True, **options))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    ours = formats.inspect(path)
    assert ours.state == "complete" and ours.problems == ()
    assert ours.tensors == formats.inspect(theirs).tensors
    verified = formats.verify(path)
    assert verified.problems == () and not verified.damaged and verified.state == "complete"


MODEL = torch.nn.Sequential(torch.nn.Linear(300, 80), torch.nn.BatchNorm1d(80), torch.nn.Linear(80, 300, bias=False))
MODEL[2].weight = torch.nn.Parameter(MODEL[0].weight.detach().t())  # tied, and seen the other way


def test_a_model_and_its_optimizer(tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(MODEL.parameters())
    MODEL(torch.ones(4, 300)).sum().backward()
    optimizer.step()
    state = {"model": MODEL.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    pickled = written(state, tmp_path / "model.pt")
    assert pickled.data == by_torch(state)[0]
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    assert same(loaded, state) and loaded["model"]._metadata == state["model"]._metadata
    assert loaded["model"]["0.weight"].data_ptr() == loaded["model"]["2.weight"].data_ptr()
    assert all(before is after for before, after in zip(pickled.storages, pickle_envelope(state).storages, strict=True))


def test_members_are_those_of_torch_save_in_their_order(tmp_path: Path) -> None:
    state = {"a": torch.ones(3), "b": [torch.zeros(2, 2)], "none": torch.empty(0)}
    written(state, tmp_path / "ours.pt")
    torch.save(state, tmp_path / "theirs.pt")
    facts = []
    for name in ("ours", "theirs"):
        with zipfile.ZipFile(tmp_path / f"{name}.pt") as archive:
            contents = {i.filename.partition("/")[2]: archive.read(i) for i in archive.infolist()}
            facts.append([(i.filename.partition("/")[2], i.flag_bits, i.compress_type) for i in archive.infolist()])
            differing = {".format_version", ".data/serialization_id"}
            facts[-1] += [(key, content) for key, content in contents.items() if key not in differing]
            assert len(contents[".data/serialization_id"]) == 40
    assert facts[0] == facts[1]


def test_torch_reads_offsets_also_where_it_would_compute_them(tmp_path: Path) -> None:
    """It computes them by one alignment for all storages, which ours do not have."""
    state = {f"t{number}": torch.full((number * 9000 + 1,), float(number)) for number in range(6)}
    written(state, tmp_path / "mixed.pt")
    with torch.utils.serialization.config.patch({"load.calculate_storage_offsets": True}):
        assert same(torch.load(tmp_path / "mixed.pt", weights_only=True, mmap=True), state)
    meta = torch.load(tmp_path / "mixed.pt", weights_only=True, map_location="meta")
    data = (tmp_path / "mixed.pt").read_bytes()
    for name, tensor in state.items():
        start = meta[name].untyped_storage()._checkpoint_offset
        assert data[start : start + tensor.nbytes] == raw(tensor.untyped_storage())


def odd_tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(12.0).reshape(3, 4)
    attributed = torch.ones(2)
    attributed.tag = "kept"
    return {
        "parameter": torch.nn.Parameter(base.clone()),
        "frozen parameter": torch.nn.Parameter(base.clone(), requires_grad=False),
        "buffer": torch.nn.Buffer(base.clone()),
        "requires_grad": base.clone().requires_grad_(),
        "conj": torch.tensor([1 + 2j, 3 - 1j]).conj(),
        "neg": torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
        "attributes": attributed,
        "half of a storage": torch.ones(1000)[500:],
        "scalar": torch.tensor(3, dtype=torch.int16),
        "no elements": torch.empty(3, 0, 2),
        "sparse": torch.tensor([[0, 2.0], [3, 0]]).to_sparse(),
        "meta": torch.empty(3, device="meta"),
    }


@pytest.mark.parametrize("kind", odd_tensors())
def test_every_kind_of_tensor_is_pickled_as_torch_does(kind: str) -> None:
    tensor = odd_tensors()[kind]
    value = {"one": tensor, "two": tensor}
    pickled = pickle_envelope(value)
    data, storages, _ = by_torch(value)
    assert pickled.data == data and [raw(storage) for storage in pickled.storages] == storages


@pytest.mark.parametrize("layout", ["csr", "csc", "bsr", "quantized", "per channel", "nested"])
def test_tensors_of_several_parts_come_back(layout: str, tmp_path: Path) -> None:
    dense = torch.tensor([[0, 2.0, 0, 1], [3, 0, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls most of these unfinished
        made = {
            "csr": lambda: dense.to_sparse_csr(),
            "csc": lambda: dense.to_sparse_csc(),
            "bsr": lambda: dense.to_sparse_bsr((1, 2)),
            "quantized": lambda: torch.quantize_per_tensor(dense, 0.1, 3, torch.qint8),
            "per channel": lambda: torch.quantize_per_channel(
                dense, torch.tensor([0.1, 0.2]), torch.tensor([1, 2]), 0, torch.quint8
            ),
            "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)]),
        }[layout]()
        value = {"tensor": made}
        written(value, tmp_path / "odd.pt")
        torch.save(value, tmp_path / "theirs.pt")
        assert pickle_envelope(value).data == by_torch(value)[0]
        ours, theirs = (torch.load(tmp_path / name, weights_only=True)["tensor"] for name in ("odd.pt", "theirs.pt"))
        assert ours.layout is made.layout and repr(ours) == repr(theirs) == repr(made)


def test_bare_storages_and_storages_without_memory(tmp_path: Path) -> None:
    untyped = torch.UntypedStorage(5).fill_(3)
    empty = [torch.empty(0), torch.empty(0, dtype=torch.int64)]
    value = {"untyped": untyped, "again": untyped, "typed": torch.ones(3)._typed_storage(), "empty": empty}
    pickled = written(value, tmp_path / "storages.pt")
    data, storages, _ = by_torch(value)
    assert pickled.data == data and [raw(storage) for storage in pickled.storages] == storages == [
        b"\3" * 5,
        raw(torch.ones(3).untyped_storage()),
        b"",
        b"",
    ]
    loaded = torch.load(tmp_path / "storages.pt", weights_only=True)
    assert [tensor.dtype for tensor in loaded["empty"]] == [torch.float32, torch.int64]


def test_memory_seen_as_two_dtypes_is_refused_as_torch_does() -> None:
    value = {"a": torch.ones(4)}
    value["b"] = value["a"].view(torch.int32)
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        torch.save(value, io.BytesIO())
    with pytest.raises(StateError, match=r"the same memory is used as torch.float32 and as torch.int32") as caught:
        pickle_envelope(value)
    assert caught.value.hint == "give one of the two a copy"


def test_nothing_is_copied_and_nothing_stays_behind() -> None:
    weight = torch.ones(1000)
    pickled = pickle_envelope({"w": weight, "view": weight[3:]})
    assert [storage.data_ptr() for storage in pickled.storages] == [weight.data_ptr()]
    before = copy.copy(pickled.data)
    weight.fill_(7)
    assert pickled.data == before


def test_scalars_that_change_move_no_storage() -> None:
    """Layouts of a training's saves: steps, times and Python's random state change, the tensors do not."""

    def offsets(step: int, like: Layout | None) -> tuple[list[int], Layout]:
        random = tuple((step * 2654435761 + number * 40503) % 2**32 for number in range(625))
        envelope = {"global_step": step, "metrics": {"loss": 1 / step}, "random": random, "weights": MODEL.state_dict()}
        pickled = pickle_envelope(envelope)
        sizes = [storage.nbytes() for storage in pickled.storages]
        layout = lay_out(f"step-{step:06}", len(pickled.data), sizes, like=like)
        return [member.offset for member in layout.members[layout.first_storage :]], layout

    first, layout = offsets(1, None)
    for step in (2, 10, 300, 70_000, 999_999):
        found, layout = offsets(step, layout)
        assert found == first


@pytest.mark.parametrize("place", ["data", "pickle", "descriptor"])
def test_one_flipped_bit_is_found(place: str, tmp_path: Path) -> None:
    layout, image = image_of(pickle_envelope({"w": torch.arange(50.0)}))
    storage = layout.members[layout.first_storage]
    at = {
        "data": storage.offset + 17,
        "pickle": layout.members[0].offset + layout.members[0].size // 2,
        "descriptor": storage.offset + storage.size + 5,
    }[place]
    image[at] ^= 1
    path = tmp_path / "flipped.pt"
    path.write_bytes(image)
    with zipfile.ZipFile(path) as archive:
        assert (archive.testzip() is None) == (place == "descriptor")
    # Nobody reads a descriptor: the directory says the same, and the hash of the file tells.
    assert formats.verify(path).damaged == (place != "descriptor")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_storages_on_a_gpu_keep_their_place(tmp_path: Path) -> None:
    value = {"gpu": torch.arange(9.0, device="cuda"), "cpu": torch.ones(3)}
    pickled = written(value, tmp_path / "gpu.pt")
    assert pickled.data == by_torch(value)[0] and pickled.storages[0].is_cuda
    loaded = torch.load(tmp_path / "gpu.pt", weights_only=True)
    assert loaded["gpu"].is_cuda and torch.equal(loaded["gpu"], value["gpu"]) and not loaded["cpu"].is_cuda
