from __future__ import annotations

from pathlib import Path

import pytest

from ckpt.exceptions import UsageError
from ckptd.config import load


def write(home: Path, text: str) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(text, encoding="utf-8")
    return home


def test_no_file_means_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.rescan_s, config.idle_exit_s, config.roots) == (60.0, 600.0, ())


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            f'[daemon]\nrescan_s = 30\nidle_exit_s = 5\n[[root]]\npath = "{tmp_path}/a/../runs"\nexclude = ["tmp*"]\n',
        )
    )
    assert (config.rescan_s, config.idle_exit_s) == (30.0, 5.0)
    assert [(root.path, root.exclude, root.origin) for root in config.roots] == [
        (str(tmp_path / "runs"), ("tmp*",), "config.toml")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[daemon]\nrescan = 3\n", "did you mean 'rescan_s'?"),
        ('[[root]]\npth = "/x"\n', "did you mean 'path'?"),
        ("[[root]]\n", "needs a path"),
        ('[[root]]\npath = "/x"\nmode = "enforce"\n', "not available for them yet"),
        ('[[root]]\npath = "/x"\nmode = "watch"\n', "observe or enforce"),
        ('[[root]]\npath = "/x"\nexclude = "a"\n', "list of patterns"),
        ("[daemon]\nrescan_s = true\n", "number of seconds"),
        ("[root]\npath = 1\n", "[[root]] for every root"),
        ("nonsense", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_file_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load(write(tmp_path, text))
    assert said in str(error.value)
    assert "config.toml" in str(error.value)


def test_the_environment_decides_the_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTD_IDLE_EXIT_S", "7")
    assert load(tmp_path).idle_exit_s == 7.0
    monkeypatch.setenv("CKPTD_IDLE_EXIT_S", "soon")
    with pytest.raises(UsageError):
        load(tmp_path)
