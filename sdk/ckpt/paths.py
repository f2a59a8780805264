"""Every name on disk, in one place.

runs/exp3/                        RunPaths
  run.json run.lock states.jsonl marks.jsonl
  checkpoints/step-001200.pt step-001200.json latest.pt best.pt
  config.yaml metrics.csv curves.png
  .trash/journal.jsonl .trash/ENTRY/…

<config home>/config.toml         config_home()      CKPTD_CONFIG_HOME
<state home>/<machine>/           StatePaths         CKPTD_STATE_HOME
  lock  catalog/  marks/  announced/  journal.jsonl  log/  roots.json  waits.json
<runtime dir>/ckptd.sock          runtime_dir()      CKPTD_RUNTIME_DIR
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ckpt.exceptions import OperationError

APP = "ckptd"
PRUNER = APP
"""The program that `run.lock` names while its run is only pruned, not trained."""
CHECKPOINT_SUFFIX = ".pt"
MARKER_SUFFIX = ".json"
TEMPORARY = re.compile(r"^\..+\.(?P<pid>\d+)-[0-9a-f]{8}\.tmp$")
"""Names of files that are being written; `files.temporary_name` makes them."""
SUN_PATH_MAX = 107  # bytes that a Unix socket's path may have
_TMP = Path("/tmp")
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_OWN_PLACES = "set CKPTD_STATE_HOME, CKPTD_CONFIG_HOME and CKPTD_RUNTIME_DIR to directories of your own"


@dataclass(frozen=True)
class RunPaths:
    """The files of one own run."""

    directory: Path

    @property
    def manifest(self) -> Path:
        """Who the run is; makes a directory an own run."""
        return self.directory / "run.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains, and by whoever prunes, for as long as it acts."""
        return self.directory / "run.lock"

    @property
    def states(self) -> Path:
        """Every emitted TrainingState's scalars, a JSON object a line."""
        return self.directory / "states.jsonl"

    @property
    def marks(self) -> Path:
        """What the user said, a JSON object a line."""
        return self.directory / "marks.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoint files."""
        return self.directory / "checkpoints"

    @property
    def latest(self) -> Path:
        """Pointer for plain tools to the newest checkpoint."""
        return self.checkpoints / "latest.pt"

    @property
    def best(self) -> Path:
        """Pointer for plain tools to the best checkpoint."""
        return self.checkpoints / "best.pt"

    @property
    def trash(self) -> Path:
        """Removed checkpoints, whole and restorable."""
        return self.directory / ".trash"

    @property
    def config(self) -> Path:
        """The run's hyper-parameters for people."""
        return self.directory / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The metrics for spreadsheets."""
        return self.directory / "metrics.csv"

    @property
    def early_stopping(self) -> Path:
        """Every value that early stopping looked at, a JSON object a line."""
        return self.directory / "early_stopping.jsonl"

    def marker_of(self, checkpoint: Path) -> Path:
        """The commit marker of a checkpoint file."""
        return checkpoint.with_suffix(MARKER_SUFFIX)


POINTER_NAMES = frozenset({"latest.pt", "best.pt"})


def checkpoint_stem(step: int | None, epoch: float | None) -> str:
    """File name without suffix: `step-001200`, `epoch-0003`, or `checkpoint` when neither is known."""
    if step is not None:
        return f"step-{step:06d}"
    if epoch is not None:
        return f"epoch-{int(epoch):04d}" if float(epoch).is_integer() else f"epoch-{epoch:g}"
    return "checkpoint"


_COMMON_TEMPORARIES = (".tmp", "tmp.", "recovery_tmp.")
_STEP = re.compile(r"(?:checkpoint|ckpt|(?:global_?)?step|epoch|iter(?:ation)?)[-_=]?\d{1,12}", re.IGNORECASE)
_CUT = re.compile(r"(?:.*[-_.])?(?:global_)?(?:epoch|step)=\d{1,12}[-_.,](?:.*[-_.,=])?[A-Za-z]\w*")
_CUT_AGAIN = re.compile(r".*=-?\d[\d.]*[-_.,](?:.*[-_.,=])?[A-Za-z]\w*")


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a write in progress (ours or a common one)."""
    return TEMPORARY.match(name) is not None or name.startswith(_COMMON_TEMPORARIES) or name.endswith(".tmp")


def is_step(directory: str) -> bool:
    """Whether a directory's name is that of one step or epoch, so that the files in it are one checkpoint."""
    return _STEP.fullmatch(directory.rpartition("/")[2]) is not None


def is_cut(directory: str) -> bool:
    """Whether a directory's name is the beginning of a checkpoint's, cut at a slash in the name of a metric.

    `{epoch}-{val/acc}` becomes `epoch=3-val/acc=0.9.ckpt`.
    """
    above, _, name = directory.rpartition("/")
    if "=" not in name:
        return False
    return _CUT.fullmatch(name) is not None or (_CUT_AGAIN.fullmatch(name) is not None and is_cut(above))


def machine_id() -> str:
    """16 hexadecimal digits that tell this machine from others that share the home directory.

    Machines made from one image have the same /etc/machine-id, and containers often none: the host name is mixed in.
    """
    raw = ""
    for candidate in _MACHINE_IDS:
        try:
            raw = Path(candidate).read_text(encoding="utf-8").strip()
            break
        except (OSError, UnicodeDecodeError):
            continue
    return hashlib.sha256(f"{raw}\0{socket.gethostname()}".encode()).hexdigest()[:16]


def _home() -> Path | None:
    """The user's home, or None where there is none."""
    try:
        home = Path("~").expanduser()
    except RuntimeError:
        return None
    return home if home.is_absolute() and home != Path("/") and home.is_dir() else None


def _can_be_made(directory: Path) -> bool:
    """Whether this user could write into a directory that may not exist yet."""
    while not os.path.lexists(directory) and directory != directory.parent:
        directory = directory.parent
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def _shared_temporary() -> Path:
    """The directory for everybody's temporary files that is the same for every process; else what TMPDIR says."""
    with contextlib.suppress(OSError):
        info = _TMP.stat()
        if stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX and os.access(_TMP, os.W_OK | os.X_OK):
            return _TMP
    return Path(tempfile.gettempdir())


def _fallback(part: str) -> Path:
    """A private directory of this user among everybody's temporary files.

    Raises OperationError when it cannot be made, somebody else owns it, or others may enter it.
    """
    uid = os.getuid() if hasattr(os, "getuid") else 0
    base = _shared_temporary() / f"{APP}-{uid}"
    with contextlib.suppress(OSError):
        base.mkdir(mode=0o700)
    try:
        info = base.lstat()
    except OSError as error:
        raise OperationError(f"{base} cannot be made: {error.strerror}", hint=_OWN_PLACES) from error
    if not stat.S_ISDIR(info.st_mode) or (
        hasattr(os, "getuid") and (info.st_uid != uid or stat.S_IMODE(info.st_mode) & 0o077)
    ):
        raise OperationError(f"{base} is not a private directory of this user", hint=_OWN_PLACES)
    return base / part


def _chosen(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None


def config_home() -> Path:
    """Where `config.toml` lies; written by people only. Need not exist."""
    chosen = _chosen("CKPTD_CONFIG_HOME")
    if chosen is not None:
        return chosen
    if sys.platform == "win32":
        import platformdirs

        return Path(platformdirs.user_config_dir(APP, appauthor=False))
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(base):
        return Path(base) / APP
    home = _home()
    if home is None:
        return _fallback("config")
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".config") / APP


def state_home() -> Path:
    """Where the daemon keeps what it knows, one directory a machine. Need not exist.

    XDG_STATE_HOME is not asked, nor TMPDIR: whoever looks for the daemon must find its lock, and a daemon that cron,
    systemd or ssh started has another environment than a shell. Only CKPTD_STATE_HOME, which has to be set for all of
    them, says otherwise. Where the home is missing or not writable, a fixed place among the temporary files serves.
    """
    chosen = _chosen("CKPTD_STATE_HOME")
    if chosen is not None:
        return chosen
    if sys.platform == "win32":
        import platformdirs

        return Path(platformdirs.user_state_dir(APP, appauthor=False))
    home = _home()
    if home is not None:
        place = home / ("Library/Application Support" if sys.platform == "darwin" else ".local/state") / APP
        # What exists counts even where it cannot be written now: the lock of a running daemon may lie there.
        if place.is_dir() or _can_be_made(place):
            return place
    return _fallback("state")


def runtime_dir() -> Path:
    """Where the socket lies; need not exist. Clients do not ask it: the lock file tells them."""
    chosen = _chosen("CKPTD_RUNTIME_DIR")
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and os.path.isdir(base) and os.access(base, os.W_OK):
        return Path(base) / APP
    return _fallback("run")


@dataclass(frozen=True)
class StatePaths:
    """The daemon's own files on this machine."""

    directory: Path

    @classmethod
    def here(cls) -> StatePaths:
        """Those of this user on this machine."""
        return cls(state_home() / machine_id())

    @property
    def lock(self) -> Path:
        """Locked for the daemon's life; holds {pid, socket, version, started} for clients."""
        return self.directory / "lock"

    @property
    def catalog(self) -> Path:
        """The index, one document file a run; a cache."""
        return self.directory / "catalog"

    @property
    def marks(self) -> Path:
        """Marks of foreign runs, one file a run."""
        return self.directory / "marks"

    @property
    def announced(self) -> Path:
        """Runs that made themselves known, one file a run."""
        return self.directory / "announced"

    @property
    def journal(self) -> Path:
        """Every act of the daemon, one JSON object a line."""
        return self.directory / "journal.jsonl"

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.directory / "log" / "ckptd.log"

    @property
    def roots(self) -> Path:
        """The directories that commands asked to watch."""
        return self.directory / "roots.json"

    @property
    def delays(self) -> Path:
        """What a changed config.toml removes only later."""
        return self.directory / "delays.json"

    @property
    def waits(self) -> Path:
        """Since when things lie in trashes."""
        return self.directory / "waits.json"


def socket_path() -> Path:
    """Where a new daemon binds; a short name among the temporary files when the usual one is too long."""
    path = runtime_dir() / f"{APP}.sock"
    if len(os.fsencode(path)) > SUN_PATH_MAX:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
        path = _fallback("s") / f"{digest}.sock"
    return path


def is_inside(path: str, directory: str) -> bool:
    """Whether an absolute path is a directory or lies in it, by their texts alone."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def relative_to(path: Path | str, base: Path | str) -> str:
    """`path` as seen from `base` when inside it, else unchanged."""
    try:
        return str(Path(path).relative_to(base))
    except ValueError:
        return str(path)


IS_POSIX = sys.platform != "win32"
