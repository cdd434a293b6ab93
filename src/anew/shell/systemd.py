"""systemd, as far as a keeper needs it: one unit is enabled, started, asked about, and taken away again.

It is driven by `systemctl` alone. As root it is the service manager of the machine, else the user's own.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from anew.errors import EngineError
from anew.model import Seconds

BOOTED = Path("/run/systemd/system")  # is there exactly where systemd runs the machine; see sd_booted(3)
LINGERING = Path("/var/lib/systemd/linger")
ANSWERS_WITHIN: Seconds = 120.0  # a stop waits for the keeper's round


@dataclass(frozen=True, slots=True)
class Systemd:
    """One service manager. An administrator's units stand in `folder`, below `top` ("/" is the machine itself)."""

    folder: Path
    is_of_user: bool
    top: Path = Path("/")

    def missing(self) -> str:
        """Return what is missing for a unit to be started here, as a sentence; "" if nothing is."""
        if shutil.which("systemctl") is None:
            return "there is no `systemctl` on this machine"
        if not BOOTED.is_dir():
            return "this machine is not run by systemd: its process 1 is another program"
        if self.is_of_user and not Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere", "systemd").is_dir():
            return "systemd runs no service manager for this user: $XDG_RUNTIME_DIR has none"
        return ""

    def is_lingering(self) -> bool:
        """Say whether what runs here is not ended when the user logs out."""
        return not self.is_of_user or (LINGERING / _user()).exists()

    def place(self, unit: str) -> Path:
        """Return the path of a unit."""
        return self.top / self.folder.relative_to("/") / unit

    def link(self, unit: str, target: str) -> Path:
        """Return the path of the link by which `target` wants a unit."""
        return self.place(f"{target}.wants") / unit

    def reload(self) -> None:
        """Let it read its units again."""
        self._run("daemon-reload")

    def enable(self, unit: str) -> None:
        """Start a unit with the machine from now on. Idempotent."""
        self._run("enable", "--quiet", unit)

    def start(self, unit: str, *, is_anew: bool = False) -> None:
        """Start a unit, though it failed before; with `is_anew` also if it runs. Idempotent without.

        Blocks  until its program is executed.
        Raises  EngineError if that fails.
        """
        if self.state(unit) == "failed":
            self._run("reset-failed", unit)
        self._run("restart" if is_anew else "start", unit)

    def disable(self, unit: str) -> None:
        """End a unit, and do not start it with the machine any more. Idempotent.

        Blocks  until its main process has ended.
        """
        self._run("disable", "--quiet", "--now", unit)

    def state(self, unit: str) -> str:
        """Return what a unit does, like "active", "inactive" or "failed"."""
        return self._run("show", "--property=ActiveState", "--value", unit)

    def main(self, unit: str) -> int:
        """Return the id of a unit's main process; 0 if it has none."""
        return int(self._run("show", "--property=MainPID", "--value", unit) or 0)

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return the command line of one request."""
        return ("systemctl", *(("--user",) if self.is_of_user else ()), "--no-ask-password", *words)

    def log_of(self, unit: str) -> str:
        """Return the command line that shows what a unit said."""
        return f"journalctl {'--user ' if self.is_of_user else ''}-u {unit} -n 50"

    def _run(self, *words: str) -> str:
        import subprocess  # noqa: PLC0415 - most commands ask systemd nothing

        argv = self.argv(*words)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=ANSWERS_WITHIN, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise EngineError(f"systemd can't be asked: {cause}", facts={"command": shlex.join(argv)}) from cause
        if done.returncode:
            facts = {"command": shlex.join(argv), "output": done.stderr.strip() or done.stdout.strip()}
            raise EngineError(
                f"systemd did not {words[0]} {words[-1]}", hint=f"look at: {self.log_of(words[-1])}", facts=facts
            )
        return done.stdout.strip()


def here() -> Systemd:
    """Return the service manager that belongs to whoever runs this."""
    if os.geteuid() == 0:
        return Systemd(Path("/etc/systemd/system"), is_of_user=False)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Systemd(settings.absolute() / "systemd" / "user", is_of_user=True)


def _user() -> str:
    import pwd  # noqa: PLC0415 - of an ordinary user only

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
