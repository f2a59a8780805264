"""Writes, rewrites, renames, moves and deletes checkpoints below BASE until SIGTERM: own runs and everybody else's.

    python storm_writer.py BASE TEMPLATES SEED

Every act prints a line when it is done. BASE/../outside holds what is moved in and out. The standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

NAMES = ["model", "step_{}", "epoch={}", "weights {}", "-rf {}", "größe{}", "line\nbreak{}", "\udcff\udcfe{}"]
PARTS = ["a", "b", "deep", "checkpoints", "exp", "seed-1", "größe", "nested"]


class Writer:
    """Acts on one tree. An act whose object has gone meanwhile does nothing."""

    def __init__(self, base: Path, templates: Path, seed: int) -> None:
        self.base = base
        self.outside = base.parent / "outside"
        self.outside.mkdir(exist_ok=True)
        self.chance = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.torch = [
            ((templates / one["file"]).read_bytes(), one["fingerprint"])
            for one in json.loads((templates / "index.json").read_text())
        ]

    def fresh(self) -> int:
        """A number that was not used before."""
        self.number += 1
        return self.number

    def content(self, suffix: str) -> bytes:
        """The bytes of a whole checkpoint file."""
        if suffix == ".pt":
            return self.chance.choice(self.torch)[0]
        count = self.chance.randrange(1, 200)
        data = self.chance.randbytes(4 * count)
        header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, len(data)]}}).encode()
        return len(header).to_bytes(8, "little") + header + data

    def foreign(self) -> list[Path]:
        """The checkpoint files that are there outside own runs, but for those that a test looks after."""
        found = []
        for place, directories, names in os.walk(self.base):
            if "run.json" in names or Path(place).name.startswith("steady"):
                directories.clear()
                continue
            directories.sort()
            found += [Path(place, name) for name in sorted(names) if name.endswith((".pt", ".safetensors"))]
        return found

    def of_one_name(self) -> list[Path]:
        """Those whose content no other name shares: where the other lies, no event tells that it changed."""
        return [path for path in self.foreign() if os.stat(path).st_nlink == 1]

    def own(self) -> list[Path]:
        """The own runs that are there."""
        return sorted(path.parent for path in self.base.glob("own*/run.json"))

    # Foreign checkpoints

    def new_file(self) -> None:
        depth = self.chance.randrange(4)
        place = self.base.joinpath(*(self.chance.choice(PARTS) for _ in range(depth)))
        place.mkdir(parents=True, exist_ok=True)
        suffix = self.chance.choice([".pt", ".safetensors"])
        path = place / (self.chance.choice(NAMES).format(self.fresh()) + suffix)
        content = self.content(suffix)
        kind = self.chance.randrange(3)
        if kind == 0:
            path.write_bytes(content)
        elif kind == 1:
            temporary = place / f".tmp-{self.number}"
            temporary.write_bytes(content)
            temporary.rename(path)
        else:
            with open(path, "wb") as stream:
                stream.write(content[: len(content) // 2])
                stream.flush()
                time.sleep(self.chance.random() * 0.02)
                stream.write(content[len(content) // 2 :])

    def many_directories(self) -> None:
        place = self.base / f"tree{self.fresh()}"
        for number in range(self.chance.randrange(2, 12)):
            inner = place / f"d{number % 3}" / f"e{number}"
            inner.mkdir(parents=True)
            (inner / "model.safetensors").write_bytes(self.content(".safetensors"))

    def rewrite(self) -> None:
        path = self.chance.choice(self.of_one_name())
        content = self.content(path.suffix)
        with open(path, "r+b") as stream:
            stream.write(content)
            stream.truncate()

    def truncate(self) -> None:
        path = self.chance.choice(self.of_one_name())
        with open(path, "r+b") as stream:  # no event tells of a file that is cut short by its path
            stream.truncate(path.stat().st_size // 2)

    def rename_file(self) -> None:
        files = self.foreign()
        path = self.chance.choice(files)
        target = self.chance.choice(files).with_name(f"renamed{self.fresh()}{path.suffix}")
        path.rename(target)

    def replace_file(self) -> None:
        files = self.foreign()
        self.chance.choice(files).replace(self.chance.choice(files))

    def delete_file(self) -> None:
        self.chance.choice(self.foreign()).unlink()

    def link(self) -> None:
        path = self.chance.choice(self.foreign())
        name = path.with_name(f"link{self.fresh()}{path.suffix}")
        if self.chance.random() < 0.5:
            os.link(path, name)
        else:
            name.symlink_to(path.name)

    def move_directory(self) -> None:
        self.directory().rename(self.base / f"moved{self.fresh()}")

    def move_out(self) -> None:
        self.directory().rename(self.outside / f"out{self.seed}-{self.fresh()}")

    def move_in(self) -> None:
        inside = self.chance.choice(sorted(self.outside.iterdir()))
        inside.rename(self.base / f"in{self.fresh()}")

    def delete_directory(self) -> None:
        shutil.rmtree(self.directory())

    def directory(self) -> Path:
        """A directory of foreign checkpoints."""
        found = [path for path in sorted(self.base.iterdir()) if path.is_dir() and not path.is_symlink()]
        return self.chance.choice([path for path in found if not path.name.startswith(("own", "steady"))])

    # Own runs

    def new_run(self) -> None:
        directory = self.base / f"own{self.fresh()}"
        (directory / "checkpoints").mkdir(parents=True)
        manifest = {"format": 1, "id": uuid.UUID(int=self.chance.getrandbits(128)).hex, "name": directory.name}
        whole = {
            **manifest,
            "created": time.time(),
            "config": {"lr": 0.1},
            "policy": {},
            "attempts": [],
            "ending": None,
        }
        temporary = directory / ".run.json.tmp"
        temporary.write_text(json.dumps(whole))
        temporary.rename(directory / "run.json")
        for _ in range(self.chance.randrange(3)):
            self.save(directory)

    def save(self, directory: Path | None = None) -> None:
        directory = directory or self.chance.choice(self.own())
        step = self.fresh() * 10
        data, fingerprint = self.chance.choice(self.torch)
        path = directory / "checkpoints" / f"step-{step:06d}.pt"
        path.write_bytes(data)
        if self.chance.random() < 0.15:
            return  # never committed
        run = json.loads((directory / "run.json").read_text())["id"]
        marker = {
            "format": 1,
            "id": "0",
            "run": run,
            "file": path.name,
            "seq": step,
            "attempt": 1,
            "step": step,
            "epoch": 1,
            "loss": self.chance.random(),
            "metrics": {"val_loss": self.chance.random()},
            "saved_at": time.time(),
            "bytes": len(data),
            "fingerprint": fingerprint,
            "label": "regular",
        }
        temporary = path.with_name(f".{path.stem}.json.{os.getpid()}-00000000.tmp")
        temporary.write_text(json.dumps(marker))
        temporary.rename(path.with_suffix(".json"))

    def damage(self) -> None:
        """An own checkpoint rewritten by somebody else."""
        self.chance.choice(self.saved()).write_bytes(self.chance.choice(self.torch)[0])

    def remove_saved(self) -> None:
        path = self.chance.choice(self.saved())
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()

    def saved(self) -> list[Path]:
        """Checkpoint files of one own run."""
        return sorted((self.chance.choice(self.own()) / "checkpoints").glob("*.pt"))

    def rename_run(self) -> None:
        self.chance.choice(self.own()).rename(self.base / f"own{self.fresh()}-renamed")

    def delete_run(self) -> None:
        shutil.rmtree(self.chance.choice(self.own()))

    def rewrite_manifest(self) -> None:
        path = self.chance.choice(self.own()) / "run.json"
        manifest = json.loads(path.read_text())
        manifest["config"] = {"lr": self.chance.random()}
        path.with_name(".run.json.tmp").write_text(json.dumps(manifest))
        path.with_name(".run.json.tmp").rename(path)

    def all_acts(self) -> list[Callable[[], None]]:
        """All acts, the frequent ones several times."""
        often = [self.new_file, self.new_file, self.save, self.save]
        sometimes = [self.new_run, self.rewrite, self.rename_file, self.delete_file, self.many_directories, self.link]
        seldom = [self.replace_file, self.truncate, self.move_directory, self.move_out, self.move_in, self.rename_run]
        never_enough = [self.delete_directory, self.delete_run, self.damage, self.remove_saved, self.rewrite_manifest]
        return often * 4 + sometimes * 2 + seldom + never_enough


def main() -> None:
    """Acts until SIGTERM, and for as long as there are not too many files."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    writer = Writer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    acts = writer.all_acts()
    while not ending:
        act = writer.chance.choice(acts)
        if len(writer.foreign()) > 250:
            act = writer.delete_directory
        with contextlib.suppress(IndexError, OSError):
            act()
        sys.stdout.write(f"{act.__name__}\n")
        sys.stdout.flush()
        time.sleep(writer.chance.random() * 0.01)


if __name__ == "__main__":
    main()
