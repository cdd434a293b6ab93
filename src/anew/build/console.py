"""A shell in the sandbox of a step, on the terminal of whoever builds: for looking at what the step sees."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from anew.build.definition import Job
from anew.build.sandboxed import Sandbox, files_of
from anew.errors import Unsupported
from anew.ports import Say
from anew.sandbox.terminal import SHELL, fitted, lent

_TERMINAL = "/dev/tty"


@contextmanager
def terminal() -> Iterator[int]:
    """Yield this process's terminal. Raises Unsupported if it has none."""
    try:
        file = os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as cause:
        raise Unsupported(
            "there is no terminal to open a shell on",
            where="command line",
            hint="run `anew build --debug` by hand in a terminal",
        ) from cause
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let ^C mean something to the shell on the terminal alone, and not to us, who wait for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)  # and not ignored: that the shell would inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def opened(sandbox: Sandbox, job: Job, say: Say) -> None:
    """Run a shell in a step's sandbox, as the step would be: mounts, environment, capabilities, network, secrets.

    What the step left in /tmp, /run and /dev went with its own sandbox.

    Blocks  until the shell is left. Raises Unsupported without a terminal.
    """
    step = shlex.join(sandbox.command[1:]) if job.supply.tool is not None else job.step.run or job.step.title
    say("nothing that is done there stays, and /tmp, /run and /dev are fresh; `exit` leaves it. The step is:")
    for line in step.splitlines():
        say(f"    {line}")
    with undisturbed(), terminal() as file, lent(file), files_of(sandbox.secrets) as files:
        first = sandbox.command[:1] if sandbox.is_first else ()  # whose name is that of process 1, also for the shell
        argv = sandbox.argv(files, (*first, *fitted(SHELL, file)), has_terminal=True)
        environment = {**sandbox.passed, "TERM": os.environ.get("TERM", "dumb")}
        # Whatever code the shell ends with says nothing about the step.
        subprocess.run(
            argv,
            env=environment,
            stdin=file,
            stdout=file,
            stderr=file,
            pass_fds=tuple(files.values()),
            umask=0o022,
            check=False,
        )
