"""To what the kernel holds a process: the limits of its control groups, read where they are kept.

Whoever has root may write there, past every engine: so what was ordered is compared with this, and not with what an
engine remembers to have been told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from anew.engines.embedded import proc
from anew.engines.embedded.cgroup_places import LIMITING, Tree, trees

NONE = 1 << 60  # bytes: what the kernel of version 1 calls a limit of memory where there is none is more
WORDS: Mapping[str, str] = {"memory": "memory", "cpu": "processors", "pids": "processes"}
_PERIOD = "cpu.cfs_period_us"
_GONE = (*proc.VANISHED, NotADirectoryError)


class Holds:
    """Reads limits; where control groups are mounted is looked up once."""

    def __init__(self) -> None:
        self._mounts = Path("/proc/self/mountinfo").read_text("utf-8", errors="replace")

    def places(self, pid: int) -> Mapping[str, Path]:
        """Return the files that limit a process, by what is limited; what can't be found is left out."""
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text("utf-8", errors="replace")
        except proc.VANISHED:
            return {}
        return dict(_places(trees(self._mounts, groups)))

    def of(self, pid: int) -> Mapping[str, float]:
        """Return bytes of memory, processors, and processes that a process and its kin may have; 0: no limit."""
        return read(self.places(pid))


def read(places: Mapping[str, Path]) -> Mapping[str, float]:
    """Return what the files say; what is gone is left out."""
    out = {}
    for resource, path in places.items():
        try:
            text = path.read_text("ascii")
            if resource == "cpu" and path.name != "cpu.max":
                text = f"{text.strip()} {path.with_name(_PERIOD).read_text('ascii')}"
        except _GONE:
            continue
        except OSError:  # the group went while it was read
            continue
        out[resource] = amount(resource, text)
    return out


def amount(resource: str, text: str) -> float:
    r"""Return a limit from the text of its file.

    >>> amount("memory", "268435456\n"), amount("memory", "9223372036854771712\n"), amount("pids", "max\n")
    (268435456.0, 0.0, 0.0)
    >>> amount("cpu", "50000 100000\n"), amount("cpu", "-1 100000"), amount("cpu", "max 100000\n")
    (0.5, 0.0, 0.0)
    """
    first, *rest = text.split()
    if first == "max" or int(first) < 0 or (resource == "memory" and int(first) >= NONE):
        return 0.0
    return int(first) / int(rest[0]) if resource == "cpu" else float(first)


def changes(now: Mapping[str, float], expected: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each limit that is not what it should be; what is not known of either is left out."""
    for resource in sorted(now.keys() & expected.keys()):
        if abs(now[resource] - expected[resource]) > max(1e-3, expected[resource] * 1e-3):
            said = f"{_shown(now[resource])} instead of {_shown(expected[resource])}"
            yield f"its limit of {WORDS[resource]} was changed in the kernel: {said}"


def _shown(limit: float) -> str:
    return f"{limit:.12g}" if limit else "none"


def _places(found: Mapping[str, Tree]) -> Iterator[tuple[str, Path]]:
    for resource, names in LIMITING.items():
        tree = found.get(resource) or found.get("")
        if tree is None:
            continue
        below = tree.own.removeprefix(tree.root) if tree.root != "/" else tree.own
        yield resource, tree.mounted / below.lstrip("/") / names[tree.is_v2]
