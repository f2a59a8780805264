"""Log lines of real processes: into files that rotate or cannot be written, terminals, pipes and the journal."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs code with a log in a process of its own: logging is set for a whole process."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    setup = "import logging, sys, pathlib\nfrom ckptd.process import logs\nlog = logging.getLogger('ckptd')\n"
    return subprocess.run(
        [sys.executable, "-c", setup + code, *arguments], text=True, timeout=60, check=False, **options
    )


TO_FILE = "logs.to_file(pathlib.Path(sys.argv[1]))\n"


def test_a_file_of_this_user_alone_that_rotates(tmp_path: Path) -> None:
    path = tmp_path / "log" / "ckptd.log"
    done = python("logs.FILE_BYTES = 2000\n" + TO_FILE + "for n in range(200): log.info('line %d', n)", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(one.name for one in path.parent.iterdir())
    assert names == ["ckptd.log", *(f"ckptd.log.{n}" for n in range(1, 6))]
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert all(one.stat().st_size <= 2000 for one in path.parent.iterdir())
    assert re.fullmatch(HEAD + "INFO ckptd: line 199", path.read_text().splitlines()[-1])


def test_names_of_files_make_no_lines_and_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "ckptd.log"
    code = TO_FILE + (
        "log.warning('%s', 'a\\nb\\x1b[31m\\x9b\\udcff\\u202e')\n"
        "try: open('/nowhere/x\\ny')\n"
        "except OSError: log.exception('cannot')\n"
        "log.info('%d', 'no number')\n"
    )
    assert python(code, str(path)).returncode == 0
    lines = path.read_text().splitlines()
    assert re.fullmatch(HEAD + re.escape(r"WARNING ckptd: a\x0ab\x1b[31m\x9b\xff\u202e"), lines[0])
    assert re.fullmatch(HEAD + "ERROR ckptd: cannot", lines[1])
    assert all(line.startswith("    | ") for line in lines[2:-1])
    assert "FileNotFoundError" in lines[-2]
    assert "its values cannot be shown" in lines[-1]


def test_uncaught_errors_and_warnings_go_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "ckptd.log"
    code = TO_FILE + (
        "import threading, warnings\n"
        "warnings.warn('beware')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='worker'); thread.start(); thread.join()\n"
        "class Bad:\n    def __del__(self): raise ValueError('unheard')\n"
        "Bad()\n"
        "raise RuntimeError('the end')\n"
    )
    done = python(code, str(path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: the end"  # whoever started it reads this
    text = path.read_text()
    for said in ("beware", "thread worker was ended", "ZeroDivisionError", "unheard", "RuntimeError: the end"):
        assert said in text


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_a_full_disk_stops_nobody_and_the_log_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "ckptd.log"
    path.symlink_to("/dev/full")
    code = TO_FILE + (
        "for n in range(1000): log.info('lost %d', n)\n"
        "path = pathlib.Path(sys.argv[1]); path.unlink(); logs.to_file(path)\n"
        "log.info('written'); print('lived')"
    )
    done = python(code, str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "lived\n", "")
    assert path.read_text().endswith("written\n")


def test_a_log_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = python(TO_FILE, str(tmp_path / "taken" / "ckptd.log"))
    assert "OperationError" in done.stderr and "CKPTD_STATE_HOME" in done.stderr


TO_STDERR = "logs.to_stderr()\n"


def test_stderr_gets_times_when_no_journal_reads_it() -> None:
    done = python(TO_STDERR + "log.info('hello')", env={**os.environ, "JOURNAL_STREAM": "1:2"})
    assert re.fullmatch(HEAD + "INFO ckptd: hello\n", done.stderr)


def test_the_journal_gets_priorities_on_every_line(tmp_path: Path) -> None:
    with open(tmp_path / "journal", "w+", encoding="utf-8") as journal:
        info = os.fstat(journal.fileno())
        code = TO_STDERR + (
            "log.debug('unseen'); log.info('i'); log.warning('w'); log.critical('c')\n"
            "try: 1 / 0\nexcept ZeroDivisionError: log.exception('e')"
        )
        python(code, stderr=journal, env={**os.environ, "JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"})
        journal.seek(0)
        lines = journal.read().splitlines()
    assert lines[:4] == ["<6>i", "<4>w", "<2>c", "<3>e"]
    assert all(line.startswith("<3>    | ") for line in lines[4:])


@pytest.mark.parametrize("end", ["closed", "reader gone", "/dev/full"])
def test_a_stderr_that_is_gone_stops_nobody(end: str) -> None:
    code = TO_STDERR + "for n in range(100): log.info('line %d', n)\nprint('lived')"
    if end == "closed":
        done = python("import os; os.close(2)\n" + code)
    elif end == "reader gone":
        reader, writer = os.pipe()
        os.close(reader)
        done = python("import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n" + code, stderr=writer)
        os.close(writer)
    else:
        if not os.access(end, os.W_OK):
            pytest.skip("needs /dev/full")
        with open(end, "wb") as full:
            done = python(code, stderr=full)
    assert (done.returncode, done.stdout) == (0, "lived\n")


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_was_lost_is_told() -> None:
    reader, writer = os.pipe()
    code = (
        "logs.PATIENCE_S = 0.0\n"
        + TO_STDERR
        + "for n in range(3000): log.info('line %d', n)\nprint('lived', flush=True)\n"
        + "sys.stdin.read()\nlog.info('again')"
    )
    command = "import logging, sys\nfrom ckptd.process import logs\nlog = logging.getLogger('ckptd')\n" + code
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer, text=True
    ) as process:
        os.close(writer)
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "lived\n"
        with os.fdopen(reader, encoding="utf-8") as stream:
            assert "line 0" in stream.readline()
            os.set_blocking(reader, False)
            held = stream.read() or ""
            os.set_blocking(reader, True)
            process.stdin.close()
            rest = held + stream.read()
    assert process.returncode == 0
    assert re.search(r"again \(\d+ lines before this one were lost\)\n$", rest)
