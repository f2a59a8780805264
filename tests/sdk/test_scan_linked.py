"""Which checkpoints symbolic links lead to: by their paths alone."""

from __future__ import annotations

import pytest

from ckpt.records import Checkpoint
from ckpt.scan import Links

RUN = "/lab/exp"


def checkpoint(name: str, *others: str) -> Checkpoint:
    path = f"{RUN}/{name}"
    return Checkpoint(id=name, run="r", path=path, framework="pytorch", files=(path, *(f"{RUN}/{o}" for o in others)))


WORLD = (
    checkpoint("checkpoint-1"),
    checkpoint("checkpoint-10"),
    checkpoint("parts/e3-rank0.pt", "parts/e3-rank1.pt"),
    checkpoint("step-4/model.pt"),
    checkpoint("m.pt", "last.pt"),
)


@pytest.mark.parametrize(
    ("target", "led_to"),
    [
        (f"{RUN}/checkpoint-1", ["checkpoint-1"]),
        (f"{RUN}/checkpoint-1/model.safetensors", ["checkpoint-1"]),
        (f"{RUN}/checkpoint-1/deep/in/it", ["checkpoint-1"]),
        (f"{RUN}/parts/e3-rank1.pt", ["parts/e3-rank0.pt"]),
        (f"{RUN}/step-4", ["step-4/model.pt"]),
        (f"{RUN}/parts", []),
        (RUN, []),
        ("/lab", []),
        ("/", []),
        (f"{RUN}/checkpoint-", []),
        (f"{RUN}/notes.md", []),
        (f"{RUN}-2/checkpoint-1", []),
        ("/lab/ex", []),
    ],
)
def test_a_link_leads_to_a_checkpoint_into_it_or_to_its_step(target: str, led_to: list[str]) -> None:
    links = Links([("/paper/figure", target)])
    assert links.to(RUN, WORLD) == {name: ["/paper/figure"] for name in led_to}
    assert links.lead_to(RUN) or not led_to


def test_all_links_to_a_checkpoint_are_told_once() -> None:
    pairs = [("/paper/b", f"{RUN}/m.pt"), ("/paper/a", f"{RUN}/m.pt"), ("/paper/run", RUN)]
    assert Links([*pairs, *pairs]).to(RUN, WORLD)["m.pt"] == ["/paper/a", "/paper/b"]


def test_other_names_and_links_in_a_checkpoint_to_itself_say_nothing() -> None:
    links = Links(
        [
            (f"{RUN}/last.pt", f"{RUN}/m.pt"),
            (f"{RUN}/checkpoint-1/best.bin", f"{RUN}/checkpoint-1/model.bin"),
            (f"{RUN}/checkpoint-10/model.bin", f"{RUN}/checkpoint-1/model.bin"),
        ]
    )
    assert links.to(RUN, WORLD) == {"checkpoint-1": [f"{RUN}/checkpoint-10/model.bin"]}


def test_links_are_found_by_where_they_lie() -> None:
    links = Links((path, "/t") for path in ("/lab/a", "/lab/a/b", "/lab/a/c/d", "/lab/a-b", "/lab/b"))
    assert [link for link, _ in links.below("/lab/a")] == ["/lab/a", "/lab/a/b", "/lab/a/c/d"]
    assert links.below("/lab/a/c/d") == (("/lab/a/c/d", "/t"),)
    assert links.below("/nowhere") == ()
    assert (list(links.directly_in("/lab/a")), list(links.directly_in("/lab/a/b"))) == (["/lab/a/b"], [])
    assert links == Links(reversed(links.pairs))
    assert links != Links()
