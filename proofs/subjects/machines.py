"""Two machines in one: what can differ between machines differs between two ways to run commands on this one.

The second one has another host name, user, umask, locale, time zone, uptime, number of processors, place and state; the
files of its projects have other owners, modes and times, and come in another order. The wall clock is the kernel's own:
no process can have another one, so there the second is only later.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anew
from anew.errors import EngineError, Unsupported

USER = 4321  # no user of this machine
LIMIT = 900.0  # seconds that one command may take
_LONG_AGO = 981173106.0  # 2001-02-03, when the second machine's files were written
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")  # without which there may be no way to the packages
_MEMORY = Path("/dev/shm")  # a file system that lists names in another order
_PROBE = """
import json, os, socket, sys, time
root = sys.argv[1]
spec = os.stat(os.path.join(root, "anew.yaml"))
year = time.strftime("%Y", time.gmtime(spec.st_mtime))
mask = os.umask(0)
print(json.dumps({
    "host name": socket.gethostname(),
    "user": f"uid {os.geteuid()}",
    "umask": f"{mask:03o}",
    "locale": os.environ.get("LC_ALL", ""),
    "time zone": time.strftime("%Z"),
    "up for": f"{time.clock_gettime(time.CLOCK_BOOTTIME) / 86400:.1f} days",
    "processors": str(len(os.sched_getaffinity(0))),
    "project in": f"a folder of {len(root)} characters",
    "its files": f"owner {spec.st_uid}, mode {spec.st_mode & 0o777:o}, of {year}",
    "their order": " ".join(os.listdir(root)[:3]),
}))
"""
_SECOND = """
hostname elsewhere
for one in passwd subuid subgid; do touch /etc/$one; mount --bind "$0/$one" "/etc/$one"; done
umask 077
cd /
exec taskset --cpu-list 0 setpriv --reuid USER --regid USER --clear-groups "$@"
""".replace("USER", str(USER))


@dataclass(frozen=True, slots=True)
class Machine:
    """A way to run commands, and folders for projects and states."""

    projects: Path
    states: Path
    start: tuple[str, ...]  # how every command line begins
    python: tuple[str, ...]
    is_second: bool = False

    def write(self, example: Path, lock: bytes = b"") -> Path:
        """Lay an example out as this machine would have it, with a state that is empty; return the project's folder."""
        root, home = self.projects / example.name, self.states / example.name
        home.mkdir(parents=True)
        files = sorted(path for path in example.rglob("*") if path.is_file())
        for path in reversed(files) if self.is_second else files:
            copy = root / path.relative_to(example)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(path.stat().st_mode & (0o700 if self.is_second else 0o755) | 0o600)
        if lock:
            (root / "anew.lock").write_bytes(lock)
        if self.is_second:
            for path in (home, root, *root.rglob("*")):
                os.chown(path, USER, USER)
                os.utime(path, (_LONG_AGO, _LONG_AGO))
        return root

    def anew(self, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises EngineError with all of its output if it fails."""
        return self._run(root, "-m", "anew", "-C", str(root), *arguments)

    def traits(self, root: Path) -> dict[str, str]:
        """Return what a process finds here."""
        return dict(json.loads(self._run(root, "-c", _PROBE, str(root)).stdout))

    def _run(self, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = (*self.start, f"ANEW_HOME={self.states / root.name}", *self.python, *arguments)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode:
            line = f"python {' '.join(arguments)}"
            facts = {"stdout": done.stdout[-4000:], "stderr": done.stderr[-4000:]}
            raise EngineError(f"{line} ended with exit code {done.returncode}", facts=facts)
        return done


@contextmanager
def two() -> Iterator[tuple[Machine, Machine]]:
    """Make two machines; of what they built nothing is left. Raises Unsupported where there can be no second one."""
    if os.geteuid() != 0:
        raise Unsupported("only root can make another machine of this one", hint="sudo script/prove world")
    folder = Path(tempfile.mkdtemp(prefix="anew-world-"))
    memory = Path(tempfile.mkdtemp(prefix="world-", dir=_MEMORY))
    try:
        for one in (folder, memory):
            one.chmod(0o755)
        yield _first(folder), _second(folder, memory)
    finally:
        for one in (folder, memory):
            shutil.rmtree(one, ignore_errors=True)


def _first(folder: Path) -> Machine:
    here = ("sh", "-euc", 'umask 022; exec "$@"', "sh", "env", "TZ=UTC", "LC_ALL=C.UTF-8", "LANG=C.UTF-8")
    return Machine(folder / "projects", folder / "states", here, (sys.executable,))


def _second(folder: Path, memory: Path) -> Machine:
    etc, states, projects = folder / "etc", folder / "second", memory / ("x" * 60) / "projects"
    for one in (etc, states, projects):
        one.mkdir(parents=True)
    (etc / "passwd").write_text(Path("/etc/passwd").read_text("utf-8") + f"other:x:{USER}:{USER}::{states}:/bin/sh\n")
    for name in ("subuid", "subgid"):
        (etc / name).write_text("other:6500000:65536\n")
    days = str(100 * 86400)
    apart = ("unshare", "--uts", "--mount", "--time", "--fork", "--boottime", days, "--monotonic", days)
    found = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(states),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{Path(anew.__file__).parents[1]}:{site.getsitepackages()[0]}",
    } | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    start = (*apart, "sh", "-euc", _SECOND, str(etc), "env", "-i", *_assigned(found))
    return Machine(projects, states, start, (_public_python(),), is_second=True)


def _assigned(environment: Mapping[str, str]) -> Sequence[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _public_python() -> str:
    """Return a Python like this one that every user may run; this one may lie in a private folder."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        argv = (path or "false", "-c", "import ssl")
        try:
            subprocess.run(argv, user=USER, group=USER, extra_groups=[], capture_output=True, cwd="/", check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        else:
            return str(path)
    raise Unsupported(f"no {version} that an ordinary user may run", hint=f"apt-get install {version}")
