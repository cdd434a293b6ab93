"""Dispose of an environment: all that runs there ends, and if that is not possible, it is said what is left.

An engine that does not answer is asked before anything is done: so either nothing has changed, or all has ended, or the
error names what is left and the next `dispose` goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from anew.errors import AnewError
from anew.ports import Say
from anew.shell.journal import EnvironmentRow, Journal
from anew.shell.keeperlock import KeeperLock, end_keeper
from anew.shell.parts import Parts


def dispose(
    journal: Journal, parts: Parts, row: EnvironmentRow, lock: KeeperLock, keep: Callable[[], None], say: Say
) -> None:
    """Take everything out of traffic, end it, and forget it at its engine; `keep` acts until nothing is left to do.

    Raises  what the engine raises, with what has not ended, and what to do.
    """
    scope = row.scope
    again = f"then `anew dispose -e {scope.environment}` again"
    try:
        parts.require_engine(row.settings.engine)
    except AnewError as cause:
        what = f"nothing in {scope} was ended, and nothing is changed: {cause.what}"
        raise _renewed(cause, what, f"{cause.hint}; {again}") from cause
    journal.vacate(scope)
    pid = lock.holder()
    if pid > 0:
        say(f"ending its keeper, process {pid}")
        end_keeper(lock, pid)
    try:
        keep()
        parts.leave(scope)
    except AnewError as cause:
        left = ", ".join(sorted(one.name for one in journal.instances.allotments(scope)))
        what = f"{scope} is out of traffic for good, but not all of it has ended ({left or 'its network'} is left)"
        raise _renewed(cause, f"{what}: {cause.what}", f"{cause.hint}; {again}: it goes on from there") from cause


def _renewed(cause: AnewError, what: str, hint: str) -> AnewError:
    return type(cause)(what, where=cause.where, hint=hint.removeprefix("; "), facts=cause.facts)
