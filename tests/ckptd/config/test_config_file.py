"""config.toml: what it may say, and how every mistake in it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt.exceptions import UsageError
from ckptd.config.file import FILE_BYTES_MAX, Reading, load, read
from ckptd.config.problems import Problem
from ckptd.config.values import Config, Limits, Root, RunRule


def write(home: Path, text: str | bytes) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return home


def reading(home: Path, text: str | bytes, **environment: str) -> Reading:
    return read(write(home, text), environment)


def told(found: Reading) -> list[tuple[str, int | None, str]]:
    return [(problem.key, problem.line, problem.message) for problem in found.problems]


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Config()
    found = read(tmp_path / "nowhere", {})
    assert not found.exists
    assert set(found.origins.values()) == {"default"}


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    found = reading(
        tmp_path,
        f"""
        [daemon]
        rescan_s = 30
        poll_s = 2.5
        idle_exit_s = 5
        exclude = ["scratch*"]

        [policy]
        keep_last_n_checkpoints = 5
        keep_for = "36h"

        [[root]]
        path = "{tmp_path}/a/../runs"
        mode = "enforce"
        policy = {{keep_every_n_epochs = 10, keep_every = "1h for 1d"}}
        exclude = ["tmp*", "old/big"]
        poll = true

        [[run]]
        match = "llama-*/sft-*"
        policy.max_bytes = "500GB"
        [[run]]
        match = "exp3"
        [run.policy]
        include_unknown = true

        [limits]
        removals_per_run = 10
        bytes_per_run = "1.5TB"
        removals_per_pass = 0
        reload_delay = "1h"

        [disk]
        warn_before = "2h"
        """,
    )
    assert (found.problems, found.warnings) == ((), ())
    root = Root(
        path=str(tmp_path / "runs"),
        mode="enforce",
        policy={"keep_every_n_epochs": 10, "keep_every": ({"every": 3600.0, "within": 86400.0},)},
        exclude=("tmp*", "old/big"),
        poll=True,
        origin="config.toml",
    )
    assert found.config == Config(
        rescan_s=30.0,
        poll_s=2.5,
        idle_exit_s=5.0,
        exclude=("scratch*",),
        policy={"keep_last": 5, "keep_for": 129600.0},
        roots=(root,),
        runs=(
            RunRule(match="llama-*/sft-*", policy={"max_bytes": 500 * 10**9}),
            RunRule(match="exp3", policy={"include_unknown": True}),
        ),
        limits=Limits(removals_per_run=10, bytes_per_run=1_500_000_000_000, removals_per_pass=0, reload_delay=3600.0),
        warn_before=7200.0,
    )
    assert set(found.origins.values()) == {"config.toml"}


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    found = reading(
        tmp_path,
        """verbose = 1
[daemon]
rescan = 3
poll_s = "soon"
idle_exit_s = 0
path = "/x"
[[root]]
pth = "/x"
[[root]]
path = "runs"
mode = "watch"
poll = 1
exclude = "a"
[[roots]]
""",
        CKPTD_RESCAN_S="often",
    )
    assert told(found) == [
        ("CKPTD_RESCAN_S", None, "CKPTD_RESCAN_S is a number of seconds from 0.1 to 86400, not 'often'"),
        ("verbose", 1, "the file has the unknown key 'verbose'; known here: daemon, policy, root, run, limits, disk"),
        ("daemon.rescan", 3, "[daemon] has the unknown key 'rescan'; did you mean 'rescan_s'?"),
        ("daemon.poll_s", 4, "poll_s is a number of seconds from 0.1 to 86400, not 'soon'"),
        ("daemon.idle_exit_s", 5, "idle_exit_s is a number of seconds from 0.1 to 86400, not 0"),
        ("daemon.path", 6, "[daemon] has the unknown key 'path'; it belongs in [[root]]"),
        ("root[1].path", 7, "root 1 needs a path"),
        ("root[1].pth", 8, "[[root]] has the unknown key 'pth'; did you mean 'path'?"),
        ("root[2].path", 10, "root 2: the path is not absolute: 'runs'; begin it with / or ~/"),
        ("root[2].mode", 11, "root 2: mode is observe or enforce, not 'watch'"),
        ("root[2].poll", 12, "root 2: poll is true or false, not 1"),
        ("root[2].exclude", 13, 'root 2: exclude is a list of patterns, as ["scratch*", "old/big"], not \'a\''),
        ("roots", 14, "the file has the unknown key 'roots'; did you mean 'root'?"),
    ]
    assert found.config.rescan_s == 60.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rescan_s = 3\n", "it belongs in [daemon]"),
        ("[[root]]\npath = '/x'\nrescan_s = 3\n", "it belongs in [daemon]"),
        ("[daemon.root]\npath = '/x'\n", "write [[root]]"),
        ("daemon = 3\n", "daemon is a table"),
        ("[[daemon]]\n", "daemon is a table"),
        ("[root]\npath = '/x'\n", "with two brackets, for every root"),
        ("root = ['/x']\n", "with two brackets, for every root"),
        ("[[root]]\npath = 3\n", "path is the name of a directory, not 3"),
        ("[[root]]\npath = ''\n", "path is the name of a directory"),
        ('[[root]]\npath = "/x\\u0000y"\n', r"path is the name of a directory, not '/x\x00y'"),
        ("[[root]]\npath = '$HOME/runs'\n", "environment variables are not expanded, only ~ is"),
        ("[[root]]\npath = '~nobody-of-this-name/runs'\n", "no such home directory is known"),
        ("[[root]]\npath = '/'\nmode = 'enforce'\n", "is the whole file system; it can be watched, not enforced"),
        ("[[root]]\npath = '~'\nmode = 'enforce'\n", "is a home directory"),
        ("[policy]\nkeep_lst = 3\n", "'keep_lst' is no field of a policy; did you mean keep_last?"),
        ("policy = 3\n", "[policy] is a table, as {keep_last = 3, keep_best = 1}, not 3"),
        ("keep_last = 3\n", "it belongs in a policy"),
        ("[policy]\nkeep_last = 0\nkeep_best = 0\n", "would keep nothing"),
        ("[policy]\ninclude_unknown = true\n", "include_unknown holds for a run that is named"),
        ("[[root]]\npath = '/x'\npolicy = 'keep_last=3'\n", "policy is a table, as {keep_last = 3, keep_best = 1}"),
        ("[[root]]\npath = '/x'\npolicy = {max_bytes = 'many'}\n", "root 1: policy: max_bytes is 'many'"),
        ("[[run]]\npolicy = {keep_last = 1}\n", "run 1 needs a match"),
        ("[[run]]\nmatch = 3\npolicy = {keep_last = 1}\n", "run 1: match is a name, or a pattern"),
        ("[[run]]\nmatch = 'a'\n", "run 1 needs a policy"),
        ("[[run]]\nmatch = 'a*'\npolicy = {include_unknown = true}\n", "include_unknown holds for a run that is named"),
        ("[[run]]\nmatch = 'a'\npolicy = {}\n[[run]]\nmatch = 'a'\npolicy = {}\n", "run 2: 'a' is run 1 already"),
        ("[run]\nmatch = 'a'\n", "write [[run]], with two brackets, for every run"),
        ("[limits]\nbytes_per_run = -1\n", "[limits]: bytes_per_run is -1"),
        ("[limits]\nremovals_per_run = true\n", "removals_per_run is True, and has to be a whole number"),
        ("[limits]\nremovals = 3\n", "did you mean 'removals_per_"),
        ("[disk]\nwarn_before = 'soon'\n", "warn_before is 'soon', and has to be a time"),
        ("[daemon]\nwarn_before = '1h'\n", "it belongs in [disk]"),
        ("[[root]]\npath = '/x'\nexclude = ['a', 3]\n", "list of patterns"),
        ("[[root]]\npath = '/x'\nexclude = ['']\n", "list of patterns"),
        ("[daemon]\nexclude = 'a'\n", "[daemon]: exclude is a list of patterns"),
        ("[daemon]\nrescan_s = true\n", "number of seconds"),
        ("[daemon]\nrescan_s = nan\n", "number of seconds"),
        ("[daemon]\nrescan_s = inf\n", "number of seconds"),
        ("[daemon]\npoll_s = 86401\n", "number of seconds"),
        ("[[root]]\npath = '/x'\n[[root]]\npath = '/x/'\n", "/x is root 1 already"),
        ("[[root]]\npath = '/x/y'\n[[root]]\npath = '/x'\n", "/x/y lies in /x"),
        ("[[root]]\npath = '/x'\n[[root]]\npath = '/x/y/../z'\n", "/x/z lies in /x"),
        ("nonsense", "this is not TOML"),
        ("[daemon]\nrescan_s = 1\nrescan_s = 2\n", "this is not TOML"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "1" * 100_000, "cannot be read"),
        (b"a = '\xff'\n", "cannot be read"),
        (b"#" * (FILE_BYTES_MAX + 1), "are allowed"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_file_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load(write(tmp_path, text))
    assert said in str(error.value)
    assert str(tmp_path / "config.toml") in str(error.value)


def test_roots_beside_each_other_are_no_clash(tmp_path: Path) -> None:
    assert not reading(tmp_path, "[[root]]\npath = '/x'\n[[root]]\npath = '/xy'\n").problems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[daemon]\n# rescan_s = 3\n  'rescan_s' = 0\n", 3),
        ("daemon.rescan_s = 0\n", 1),
        ("daemon = { rescan_s = 0 }\n", 1),
        ('[daemon]\nrescan_s = 0\nx = """\n"""\n', None),
    ],
)
def test_the_line_is_told_where_it_is_known(tmp_path: Path, text: str, line: int | None) -> None:
    found = {problem.key: problem.line for problem in reading(tmp_path, text).problems}
    assert found["daemon.rescan_s"] == line


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    (problem,) = reading(tmp_path, "[daemon]\nrescan_s = 3\npoll_s = =\n").problems
    assert problem.line == 3
    assert problem.sentence().startswith(f"{tmp_path / 'config.toml'}:3: this is not TOML")


def test_a_problem_is_one_line_whatever_the_file_says(tmp_path: Path) -> None:
    found = reading(tmp_path, '"a\\nb\\u001b" = 1\n[[root]]\npath = "x\\ny"\nmode = "\\u0007"\n')
    assert all(problem.sentence().isprintable() for problem in found.problems)
    assert len(found.problems) == 3


def test_what_only_the_disk_says_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    paths = ["file", "gone", "$USER", "real", "link"]
    found = reading(tmp_path, "".join(f"[[root]]\npath = '{tmp_path}/{path}'\n" for path in paths))
    assert found.problems == ()
    assert len(found.config.roots) == 5
    said = [warning.message for warning in found.warnings]
    assert said[0].endswith("file is not a directory")
    assert said[1].endswith("gone does not exist now")
    assert said[2].endswith("$USER does not exist now; environment variables are not expanded, only ~ is")
    assert "share directories by a symbolic link" in said[3]
    assert len(said) == 4


@pytest.mark.parametrize("pattern", ["/data/x", "./x", "../x", "~/x", "*", "**"])
def test_patterns_that_match_nothing_or_everything_are_a_warning(tmp_path: Path, pattern: str) -> None:
    (warning,) = reading(tmp_path, f"[daemon]\nexclude = ['ok*', '{pattern}']\n").warnings
    assert (warning.key, warning.line) == ("daemon.exclude", 2)


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (root,) = reading(tmp_path, "[[root]]\npath = '~/runs'\n").config.roots
    assert root.path == str(tmp_path / "runs")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_pipe_in_place_of_the_file_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    (problem,) = read(tmp_path, {}).problems
    assert problem.message == "it cannot be read: it is not a file"


def test_a_directory_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    assert "cannot be read" in read(tmp_path, {}).problems[0].message


def test_a_sparse_giant_is_refused_without_being_read(tmp_path: Path) -> None:
    with open(tmp_path / "config.toml", "wb") as stream:
        stream.truncate(1 << 40)
    assert f"it has {1 << 40} bytes" in read(tmp_path, {}).problems[0].message


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[daemon]\nidle_exit_s = 3\nrescan_s = 3\n")
    monkeypatch.setenv("CKPTD_IDLE_EXIT_S", "7")
    monkeypatch.setenv("CKPTD_POLL_S", "0.5")
    config = load(tmp_path)
    assert (config.idle_exit_s, config.rescan_s, config.poll_s) == (7.0, 3.0, 0.5)
    assert set(config.from_environment) == {"idle_exit_s", "poll_s"}
    origins = read(tmp_path, os.environ).origins
    assert [origins[name] for name in ("idle_exit_s", "rescan_s", "poll_s")] == [
        "environment",
        "config.toml",
        "environment",
    ]


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-1", "0", "1e9"])
def test_a_variable_that_is_no_number_of_seconds_is_refused(tmp_path: Path, value: str) -> None:
    (problem,) = read(tmp_path, {"CKPTD_RESCAN_S": value}).problems
    assert isinstance(problem, Problem)
    assert problem.sentence() == f"CKPTD_RESCAN_S is a number of seconds from 0.1 to 86400, not '{value}'"


def test_every_mistake_of_a_policy_has_its_own_line(tmp_path: Path) -> None:
    found = reading(
        tmp_path,
        """[policy]
keep_last = "many"
keep_bst = 3
[[root]]
path = "/x"
[[root]]
path = "/y"
[root.policy]
max_bytes = "much"
[[run]]
match = "a"
policy = {keep_last = 0}
""",
    )
    assert [(key, line) for key, line, _ in told(found)] == [
        ("policy.keep_last", 2),
        ("policy.keep_bst", 3),
        ("root[2].policy.max_bytes", 9),
        ("run[1].policy.keep_last", 12),
    ]
    assert found.config.policy == {}


def test_an_enforced_root_without_a_rule_is_warned_of(tmp_path: Path) -> None:
    text = f"[[root]]\npath = '{tmp_path}'\nmode = 'enforce'\n"
    (warning,) = reading(tmp_path, text).warnings
    assert "no policy says what to keep" in warning.message
    assert warning.line == 3
    assert not reading(tmp_path, text + "[policy]\nkeep_last = 3\n").warnings


@pytest.mark.parametrize(
    "text",
    [
        '[policy]\nkeep_best = 3\nmonitor = "none"\n',
        '[[run]]\nmatch = "a"\npolicy = {keep_best = 3, monitor = "none"}\n',
        '[policy]\nmonitor = "none"\n[[root]]\npath = "/"\npolicy = {keep_best = 3}\n',
    ],
)
def test_the_best_without_a_metric_are_refused_where_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    (problem,) = read(tmp_path, {}).problems
    assert 'keep_best = 3 and monitor = "none"' in problem.message


@pytest.mark.parametrize(
    ("text", "label", "line"),
    [
        ("[policy]\nkeep_last = 2\nmax_bytes = 100\n", "[policy]: max_bytes", 3),
        ('[[run]]\nmatch = "a"\npolicy = {max_bytes = 100}\n', "run 1: policy: max_bytes", 3),
        ("[limits]\nbytes_per_run = 100\n", "[limits]: bytes_per_run", 2),
    ],
)
def test_a_size_that_nobody_means_is_warned_of(tmp_path: Path, text: str, label: str, line: int) -> None:
    (tmp_path / "config.toml").write_text(text)
    found = read(tmp_path, {})
    assert not found.problems
    ((message, where),) = [(warning.message, warning.line) for warning in found.warnings]
    assert message.startswith(f"{label} is 100 bytes; a size without a unit is bytes")
    assert where == line
    (tmp_path / "config.toml").write_text(text.replace("100", '"100GB"'))
    assert not read(tmp_path, {}).warnings
