from __future__ import annotations

from pathlib import Path

from ckptd.journal import RESERVED, Journal


def test_numbers_go_on_after_a_restart_even_without_a_line_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    given = [journal.next() for _ in range(5)]
    # A crash: nothing is closed or written.
    again = Journal(path)
    assert again.next() > given[-1]
    assert again.next() > RESERVED
    journal.close()
    again.close()


def test_numbers_are_unique_beyond_one_reservation(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    numbers = [journal.next() for _ in range(RESERVED + 10)]
    assert numbers == sorted(set(numbers))
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 2
    journal.close()


def test_acts_are_read_back_in_order_and_a_torn_line_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.record("mark", mark="tag", value=float("nan"))
    journal.close()
    with open(path, "ab") as stream:
        stream.write(b'{"seq": 99, "kind": "mar')
    journal = Journal(path)
    journal.record("undo", of=1)
    assert [(act["kind"], act.get("value")) for act in journal.acts()] == [("mark", "NaN"), ("undo", None)]
    journal.close()


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(None)
    assert journal.record("mark")["seq"] == 1
    assert journal.acts() == []
    assert not list(tmp_path.iterdir())
