"""Every code block that a reader would copy is run: `sh` with bash, `python` in one namespace a document.

A `toml` block is a config.toml that has to be understood. Blocks of other languages show output. A `sh` block whose
first word is one of SET_UP brings a reader here and is checked for its make targets only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
SET_UP = ("make", "git", "pip")


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    for match in BLOCK.finditer(document.read_text(encoding="utf-8")):
        yield match[1], match[2]


@pytest.fixture
def workplace(tmp_path: Path, own_places: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty directory, and the environment of a user who installed the project."""
    env = {k: v for k, v in os.environ.items() if k not in ("CKPTD_AUTOSTART", "CI")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["COLUMNS"] = "120"
    yield tmp_path, env
    subprocess.run(["ckptd", "stop"], env=env, cwd=tmp_path, capture_output=True, timeout=30, check=False)


def run(argv: list[str], code: str, cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(argv, input=code, cwd=cwd, env=env, capture_output=True, text=True, timeout=150, check=False)
    succeeded(done, code)


def succeeded(done: subprocess.CompletedProcess[str], code: str) -> None:
    assert done.returncode == 0, f"{code}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_code_blocks_run(document: Path, workplace: tuple[Path, dict[str, str]], fork_server: ForkServer) -> None:
    cwd, env = workplace
    python: list[str] = []
    for language, code in blocks(document):
        if language == "sh":
            if code.split()[0] in SET_UP:
                continue
            run(["bash", "-euo", "pipefail", "-s"], code, cwd, env)
        elif language == "python":
            # Earlier blocks are run again so that names carry over, each time in a directory of its own.
            python.append(code)
            place = cwd if len(python) == 1 else cwd / f"python-{len(python)}"
            place.mkdir(exist_ok=True)
            joined = "\n".join(python)
            succeeded(fork_server.run(joined, cwd=place, env=env, strict=True), joined)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for language, code in blocks(document):
        if language == "sh":
            for target in re.findall(r"^make (\w+)", code, re.MULTILINE):
                assert target in targets, f"{document.name} names make {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_configs_are_understood(document: Path, workplace: tuple[Path, dict[str, str]], own_places: Path) -> None:
    cwd, env = workplace
    (own_places / "config").mkdir()
    for language, code in blocks(document):
        if language == "toml":
            (own_places / "config" / "config.toml").write_text(code, encoding="utf-8")
            run(["ckptd", "config", "check", "--json"], "", cwd, env)


def test_every_key_of_the_config_is_told(workplace: tuple[Path, dict[str, str]], own_places: Path) -> None:
    cwd, env = workplace
    (code,) = [code for language, code in blocks(ROOT / "docs" / "daemon.md") if language == "toml"]
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text(code, encoding="utf-8")
    command = ["ckptd", "config", "check", "--json"]
    understood = json.loads(
        subprocess.run(command, env=env, cwd=cwd, capture_output=True, timeout=60, check=True).stdout
    )
    told = tomllib.loads(code)
    assert set(told["daemon"]) | set(told["limits"]) | set(told["disk"]) == set(understood["values"])
    assert [set(root) for root in told["root"]] == [set(root) for root in understood["roots"]]


def test_there_are_blocks_to_run() -> None:
    assert sum(1 for language, _ in blocks(ROOT / "README.md") if language in ("sh", "python")) >= 4
