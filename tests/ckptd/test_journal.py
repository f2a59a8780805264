from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptd.journal import RESERVED, TAIL, Journal


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


def test_numbers_are_unique_when_the_reservation_stands_further_up_than_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for _ in range(6):
        journal.record("mark", text="x" * (TAIL // 5))
    given = [journal.next() for _ in range(100)]
    journal.close()
    again = Journal(path)
    assert again.next() > given[-1]
    again.close()


TORN = [
    b'{"seq": 99, "kind": "mar',
    b'{"seq": 99, "kind": "mark"}\n\0\0\0\0\0',
    b"\0" * 5000,
    b"\n\n",
    b'"text"\n[1]\n',
]


@pytest.mark.parametrize("torn", TORN)
def test_acts_are_read_back_in_order_and_a_torn_line_spoils_only_itself(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.record("mark", mark="tag", value=float("nan"))
    journal.close()
    with open(path, "ab") as stream:
        stream.write(torn)
    journal = Journal(path)
    assert journal.record("undo", of=1)["seq"] > 1
    told = [(act["kind"], act.get("value")) for act in journal.acts()]
    assert (told[0], told[-1]) == (("mark", "NaN"), ("undo", None))
    assert len(told) == 2 + (b'"mark"}\n' in torn)
    journal.close()


def test_a_file_that_has_grown_large_is_set_aside_and_nothing_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written = []
    for _ in range(3):
        journal = Journal(path, file_max=1000)
        written += [journal.record("mark", number=number)["seq"] for number in range(30)]
        assert [act["seq"] for act in journal.acts()] == written
        assert [act["seq"] for act in journal.history()] == written
        journal.close()
    assert written == sorted(set(written))
    older = sorted(p.name for p in tmp_path.iterdir() if p != path)
    assert older == [f"journal-{number:06d}.jsonl" for number in range(1, len(older) + 1)]
    assert len(older) > 3
    assert all((tmp_path / name).stat().st_size < 1200 for name in older)
    assert path.stat().st_mode & 0o777 == 0o600


def test_numbers_go_on_when_a_crash_left_only_files_that_were_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    last = journal.record("mark")["seq"]
    journal.close()
    path.rename(tmp_path / "journal-000001.jsonl")
    again = Journal(path)
    assert again.record("mark")["seq"] > last
    assert len(again.acts()) == 2
    again.close()


def test_a_file_taken_away_meanwhile_is_made_anew_with_numbers_that_go_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    first = journal.record("mark")["seq"]
    path.unlink()
    second = journal.record("mark")["seq"]
    journal.close()
    again = Journal(path)
    assert [act["seq"] for act in again.acts()] == [second]
    assert again.next() > second > first
    again.close()


FULL = """
import json, resource, signal, sys
from pathlib import Path
from ckptd.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
journal.record("mark", number=1)
size = Path(sys.argv[1]).stat().st_size
told = []
for limit in (size, size + 20):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        journal.record("mark", number=2)
    except OSError as error:
        told.append([type(error).__name__, Path(sys.argv[1]).stat().st_size == size])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.record("mark", number=3)
print(json.dumps([told, [act["number"] for act in journal.acts()]]))
"""


def test_a_line_that_does_not_fit_is_refused_leaves_nothing_and_the_next_one_is_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "journal.jsonl")], capture_output=True, text=True, check=True
    )
    told, numbers = json.loads(done.stdout)
    assert told == [["OSError", True], ["OSError", True]]
    assert numbers == [1, 3]


def test_a_reservation_that_could_not_be_written_is_written_before_a_number_is_given(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    first = journal.next()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        journal.record("mark")
    path.rmdir()
    again = journal.record("mark")["seq"]
    journal.close()
    restarted = Journal(path)
    assert restarted.next() > again > first
    restarted.close()


def test_a_kill_while_writing_leaves_whole_lines_and_growing_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from ckptd.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), file_max=5000)\n"
        "while True: print(journal.record('mark', text='x' * 50)['seq'], flush=True)"
    )
    acknowledged: list[int] = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        while len(told := os.read(process.stdout.fileno(), 4096).split()) < 2:
            continue
        process.kill()
        told += process.stdout.read().split()
        process.stdout.close()
        process.wait()
        acknowledged.append(int(told[1]))
    journal = Journal(path)
    seen = [act["seq"] for act in journal.history()]
    assert seen == sorted(set(seen))
    assert set(acknowledged) <= set(seen)
    assert journal.next() > seen[-1]
    journal.close()


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(None)
    assert journal.record("mark")["seq"] == 1
    assert journal.acts() == list(journal.history()) == []
    assert not list(tmp_path.iterdir())
