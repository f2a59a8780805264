"""The history of a run with very many saves: asked of a few of them, whatever they are, and still right."""

from __future__ import annotations

import random

from ckpt.saving.when.history import History, Saved


class Counted(list[Saved]):
    """A list that counts how often it is gone through."""

    passes = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.passes += 1
        return super().__iter__()

    def __reversed__(self):  # type: ignore[no-untyped-def]
        self.passes += 1
        return super().__reversed__()


def ask(history: History, step: int) -> tuple[object, ...]:
    return (
        history.asked("step", step=step),
        history.asked("epoch", epoch=float(step // 10)),
        history.best,
        history.is_better(step / 1000),
        history.saved_at,
        history.last_step,
        history.next_seq,
    )


def test_asking_goes_through_all_saves_once() -> None:
    saves = Counted(Saved(n, n, float(n // 10), 1 / n, ("step", "epoch")) for n in range(1, 1000))
    history = History(saves=saves)
    for step in range(1000, 1100):
        ask(history, step)
        history.add(Saved(step, step, float(step // 10), 1 / step, ("step",), float(step)))
    assert history.saves is saves
    assert saves.passes == 1


def test_what_was_kept_up_is_what_counting_anew_gives() -> None:
    draw = random.Random(0)
    for mode in ("min", "max"):
        history = History(mode=mode)  # type: ignore[arg-type]
        for seq in range(1, 200):
            value = draw.choice([None, float("nan"), draw.random()])
            due = tuple(rule for rule in ("step", "epoch") if draw.random() < 0.5)
            history.add(Saved(seq, seq // 2, float(seq // 20), value, due, float(seq)))
            if draw.random() < 0.1:
                history.take_back(draw.randrange(1, seq + 1))
            if draw.random() < 0.05:
                history.go_on_from(draw.randrange(seq + 1))
            anew = History(mode=history.mode, saves=list(history.saves), began=history.began)
            anew._past = set(history._past)
            for step in (seq // 2, seq // 4, seq):
                assert ask(history, step) == ask(anew, step)
