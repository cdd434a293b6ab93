"""Running a command to its end in a throwaway container, which is labelled with who wants it."""

from __future__ import annotations

import secrets
import signal
import time

from anew.engines.docker import life
from anew.engines.docker.containers import Containers, ends_within, pinned
from anew.engines.docker.life import Life
from anew.engines.embedded.life import signal_of
from anew.engines.embedded.trial import MOST
from anew.errors import NotFound
from anew.model import Order, Outcome, Seconds


def name_of(name: str) -> str:
    """Return a name that no instance has, and no other throwaway container."""
    return f"{name}.{secrets.token_hex(4)}"


def run(containers: Containers, container: str, order: Order, limit: Seconds) -> Outcome:
    """Start a container, wait for its end, at most `limit`, and return how it ended and what it wrote."""
    containers.start(container, order.name)
    end = time.monotonic() + limit  # what the engine takes to start it is not the command's
    now = _looked(containers, container)
    with pinned(now) as handle:
        is_late = handle >= 0 and not ends_within(handle, end - time.monotonic())
    if is_late:
        containers.end(now, 0.0)
    code = containers.settled(now)
    text = _last(containers, container)
    if is_late:
        return Outcome(-signal.SIGKILL, text, is_late=True)
    refused = life.not_executed(code, order.command[0], text)
    if refused:
        return Outcome(code, f"{refused}\n")
    why = "" if (seen := containers.inspected(container)) is None else life.how(code, seen)
    if why.startswith(life.FOR_MEMORY):
        text += f"{why}\n"
    number = signal_of(code)
    return Outcome(-number if number else code, text)


def _looked(containers: Containers, container: str) -> Life:
    said = containers.inspected(container)
    if said is None:
        raise NotFound("a throwaway container was removed by somebody while it ran", hint="try again")
    return life.of(said)


def _last(containers: Containers, container: str) -> str:
    kept = b""
    for part in containers.log_parts(container):
        kept = (kept + part)[-MOST:]
    return kept.decode("utf-8", errors="replace")
