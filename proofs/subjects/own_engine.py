"""A container engine of its own, which a proof may stop, kill and start as it likes: nobody else uses it.

The proof goes apart with it, into a network and a tree of mounts of their own: an engine takes some things of a
machine for its own, such as the bridge `docker0` and the packet filter, and two would be in each other's way.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anew.errors import EngineError
from anew.model import Seconds
from anew.testing.containers import ContainerEngine

STARTS_WITHIN: Seconds = 60.0
ENDS_WITHIN: Seconds = 60.0
APART = "ANEW_PROOF_IS_APART"


class OwnEngine:
    """One dockerd with folders and a socket of its own."""

    def __init__(self, folder: Path, run: Path) -> None:
        self._folder = folder
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self.api = ContainerEngine(run / "engine.sock")

    @property
    def host(self) -> str:
        """What $DOCKER_HOST has to be."""
        return f"unix://{self.api.socket}"

    def start(self, *, is_outlived: bool = False) -> Seconds:
        """Start it; return what that took. With `is_outlived` its containers live on without it.

        Raises  EngineError with the end of its log if it does not answer.
        """
        begun = time.monotonic()
        command = [
            *("dockerd", "--host", self.host, "--data-root", str(self._folder / "data")),
            *("--exec-root", str(self._run / "exec"), "--pidfile", str(self._run / "engine.pid")),
            *(("--live-restore",) if is_outlived else ()),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while not self.api.answers():
            if self._process.poll() is not None or time.monotonic() - begun > STARTS_WITHIN:
                last = (self._folder / "log").read_text(errors="replace")[-2000:]
                raise EngineError("dockerd does not start", facts={"command": " ".join(command), "output": last})
            time.sleep(0.05)
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it by SIGKILL: it has no time for anything; its containerd, which is its child, is killed with it."""
        self._end(signal.SIGKILL)
        pid = self._run / "exec" / "containerd" / "containerd.pid"
        end = time.monotonic() + ENDS_WITHIN
        while Path(f"/proc/{pid.read_text('ascii').strip()}").exists():  # the next one would take it for alive
            if time.monotonic() > end:
                raise EngineError("containerd does not end with its parent", where=str(pid))
            time.sleep(0.05)

    def stop(self) -> None:
        """End it politely; its containers end with it unless it was started to be outlived."""
        self._end(signal.SIGTERM)

    def lose_power(self, pids: set[int]) -> None:
        """End it and all that it runs at one stroke, and forget what lies in memory: what a machine's restart leaves.

        `pids` are the first processes of its containers.
        """
        self.kill()
        for pid in (*self._of_ours(), *pids):
            _kill(pid)
        end = time.monotonic() + ENDS_WITHIN
        while left := [pid for pid in (*self._of_ours(), *pids) if Path(f"/proc/{pid}/exe").exists()]:
            if time.monotonic() > end:
                raise EngineError(f"processes do not end: {left}")
            time.sleep(0.05)
        self._unmount()
        shutil.rmtree(self._run / "exec", ignore_errors=True)
        (self._run / "engine.pid").unlink(missing_ok=True)
        self.api.socket.unlink(missing_ok=True)

    def log(self) -> str:
        """Return the end of what it wrote."""
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """End it with all that it runs, and remove what is left."""
        if self._process is None or self._process.poll() is not None:
            self.start()  # only it knows what it has left
        for one in self.api.ask("GET", "/containers/json?all=1"):
            self.api.ask("DELETE", f"/containers/{one['Id']}?force=true&v=true")
        self.api.ask("POST", "/networks/prune")
        self.stop()
        for pid in self._of_ours():
            _kill(pid)
        self._unmount()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired as cause:
            raise EngineError("dockerd does not end", facts={"output": self.log()}) from cause

    def _of_ours(self) -> list[int]:
        """Return its helpers: containerd, and one process for each container."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended while we looked
            if line.startswith(b"containerd") or b"/containerd-shim" in line.split(b"\0")[0]:
                found += [int(entry.name)] if str(self._run / "exec").encode() in line else []
        return found

    def _unmount(self) -> None:
        """Take away what it has mounted, the newest first."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        places = [line.split()[4] for line in lines]
        for place in reversed(places):
            if Path(place).is_relative_to(self._folder) or Path(place).is_relative_to(self._run):
                subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def go_apart(prepare: Callable[[], None]) -> None:
    """Begin this program anew, with mounts and a network of its own, which has the loopback and no way out.

    Before that, `prepare` has what needs a way out. Returns where all that has been done.
    """
    if os.environ.get(APART) == "1":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine is ended, whoever ends the proof
        return
    prepare()
    os.environ[APART] = "1"
    line = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
    sys.stdout.flush()
    os.execvp(line[0], line)


@contextmanager
def own_engine() -> Iterator[OwnEngine]:
    """Make an engine that has not been started; all of it is gone at the end. Only for who has gone apart."""
    if os.environ.get(APART) != "1":
        raise EngineError("an engine of its own needs a network of its own", hint="go apart first")
    folder = Path(tempfile.mkdtemp(prefix="anew-engine-", dir="/var/tmp"))
    run = Path(tempfile.mkdtemp(prefix="anew-engine-", dir="/run"))
    one = OwnEngine(folder, run)
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(folder)
        shutil.rmtree(run)
