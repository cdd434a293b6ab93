"""What differs between a running instance and its image.

Files can't: the root is read-only, and what is writable is empty at the start and gone at the end; a volume is no part
of an image. What remains is somebody who came in from outside.
"""

from __future__ import annotations

from anew.engines.embedded import proc


def of(pid: int) -> tuple[str, ...]:
    """Return a line for each process that entered the sandbox of the inner process `pid`, and for each debugger."""
    inside = proc.descendants(pid)
    spaces = {(kind, proc.namespace(pid, kind)) for kind in ("pid", "mnt")} - {("pid", ""), ("mnt", "")}
    lines = [
        f"{proc.name(one)} (pid {one}) has entered from outside"
        for one in proc.pids()
        if one not in inside and any(proc.namespace(one, kind) == space for kind, space in spaces)
    ]
    for one in inside:
        debugger = proc.tracer(one)
        if debugger:
            lines.append(f"{proc.name(one)} (pid {one}) is debugged by {proc.name(debugger)} (pid {debugger})")
    return tuple(lines)
