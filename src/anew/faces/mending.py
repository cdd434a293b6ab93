"""The commands that fix without touching: an instance is looked into aside of traffic, or replaced by a new one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import click

from anew.cases import Anew
from anew.errors import AnewError, EngineError
from anew.faces import blocks, screen
from anew.faces.acts import Session
from anew.faces.options import detach, shared
from anew.model import Seconds
from anew.views import Debugged, Reborn, Status

HELD_FOR: Seconds = 60.0
RENEWED_EVERY: Seconds = 15.0
LOOKS_EVERY: Seconds = 0.5
REBORN_WITHIN: Seconds = 3600.0
SHELL = ("/bin/sh",)
STDERR = 2  # standard output belongs to JSON


@click.command("debug", context_settings={"ignore_unknown_options": True})
@click.argument("service")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@shared
@click.pass_obj
def _debug(session: Session, service: str, command: tuple[str, ...]) -> int:
    """Take one instance out of traffic, open a shell in it (or run COMMAND), and dispose of it afterwards."""
    anew = session.anew()
    name = anew.take_aside(session.environment, service, screen.note)
    with _held(anew, session.environment, name):
        argv = anew.entry(session.environment, name, command or SHELL)
        screen.note(f"inside {name}, out of traffic; it is disposed of when you leave")
        stdout = STDERR if session.is_json else None
        try:
            code = subprocess.run(argv, check=False, stdout=stdout, env=_environment()).returncode
        finally:
            _take_terminal_back()
    if session.is_json:
        screen.show_json(Debugged(name, code))
    return code if code >= 0 else 128 - code


@click.command("rebirth")
@click.argument("service", default="", metavar="[SERVICE]")
@detach
@shared
@click.pass_obj
def _rebirth(session: Session, service: str, *, is_detached: bool) -> int:
    """Replace every instance of what serves, or of one service, by a new one, one after the other."""
    anew = session.anew()
    names = anew.rebirth(session.environment, service)
    end = time.monotonic() + REBORN_WITHIN
    said = f"{len(names)} instances are to be replaced"
    while not is_detached and (left := _left(anew.status(session.environment), names)):
        if time.monotonic() > end:
            raise EngineError(
                f"{', '.join(left)} not replaced within {REBORN_WITHIN:g} s",
                hint="`anew status` shows what holds it up",
            )
        time.sleep(LOOKS_EVERY)
        said = f"{len(names)} instances were replaced"
    session.answer(Reborn(names), [blocks.line(said, "good")])
    return 0


def _environment() -> dict[str, str]:
    """Return what the shell inside is told: nothing of whoever asks but the kind of his terminal."""
    own = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}  # noqa: S108 - inside
    return own | ({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})


def _take_terminal_back() -> None:
    """Have the terminal again, which a shell inside may have taken: whoever reads from it next would be stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with suppress(OSError):  # there is none
            os.tcsetpgrp(0, os.getpgrp())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _left(status: Status, names: Iterable[str]) -> list[str]:
    marked = {name for service in status.services for group in service.groups for name in group.marked}
    return sorted(marked.intersection(names))


@contextmanager
def _held(anew: Anew, environment: str, name: str) -> Iterator[None]:
    """Hold an instance as long as somebody is inside."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWED_EVERY):
            try:
                anew.hold(environment, name, HELD_FOR)
            except AnewError as error:
                screen.note(f"{name} can't be held any longer: {error.what}")
                return

    thread = threading.Thread(target=renew, name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        anew.hold(environment, name, 0.0)


COMMANDS = (_debug, _rebirth)
