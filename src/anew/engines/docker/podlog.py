"""Logs as Podman keeps them, read from its file: its service breaks long lines, and may be behind.

Source  the log format of Kubernetes' container runtime interface: time, stream, ``F`` or ``P``, and the text; ``P`` is
        a part of a line that goes on in the next entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

FULL = b"F"


def texts(entries: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield what a container wrote, from the entries of its file; what is half written yet is left out.

    >>> b"".join(texts([b"T stdout P one, \n", b"T stdout F and the rest\n", b"T stderr F two\n", b"T std"]))
    b'one, and the rest\ntwo\n'
    """
    for entry in entries:
        parts = entry.removesuffix(b"\n").split(b" ", 3)
        if len(parts) == 4 and entry.endswith(b"\n"):
            yield parts[3] + (b"\n" if parts[2] == FULL else b"")
