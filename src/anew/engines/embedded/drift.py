"""What differs between a running instance and its image.

Files can't: the root is read-only, and what is writable is empty at the start and gone at the end; a volume is no part
of an image. What remains is somebody who came in from outside.
"""

from __future__ import annotations

from collections.abc import Mapping

from anew.engines.embedded import proc

SPACES = ("pid", "mnt")  # whoever shares one of these with a sandbox is inside


def of(pid: int) -> tuple[str, ...]:
    """Return a line for each process that entered the sandbox of the inner process `pid`, and for each debugger."""
    return of_all({"": pid}).get("", ())


def of_all(inner: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Return the lines of each sandbox that somebody is inside of, by name; `inner` are their inner processes.

    All are looked at together: one walk through the processes of the machine, however many sandboxes there are.
    """
    inside = {name: proc.descendants(pid) for name, pid in inner.items()}
    spaces: dict[tuple[str, str], str] = {}
    for name, pid in inner.items():
        spaces |= {(kind, space): name for kind in SPACES if (space := proc.namespace(pid, kind))}
    native = {one for ones in inside.values() for one in ones}
    out: dict[str, list[str]] = {}
    for one in proc.pids():
        if one in native:
            continue
        entered = next((spaces[at] for kind in SPACES if (at := (kind, proc.namespace(one, kind))) in spaces), None)
        # What was born meanwhile has a parent that was there before.
        if entered is not None and one not in proc.descendants(inner[entered]):
            out.setdefault(entered, []).append(f"{proc.name(one)} (pid {one}) has entered from outside")
    for name, ones in inside.items():
        for one in ones:
            debugger = proc.tracer(one)
            if debugger:
                says = f"{proc.name(one)} (pid {one}) is debugged by {proc.name(debugger)} (pid {debugger})"
                out.setdefault(name, []).append(says)
    return {name: tuple(lines) for name, lines in out.items()}
