"""Which server slot each target of a group has. Pure, so that a caller that was killed half way decides the same again.

HAProxy knows a fixed number of servers per backend; a target takes a free one, and leaves it when it goes. A slot that
became free is taken again as late as possible: requests that are still in flight there belong to the target before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anew.model import EdgeGroup, Target

FEWEST = 8


@dataclass(frozen=True, slots=True)
class Slots:
    """The server slots of one group: how many, which target has which, and where the next search begins."""

    count: int
    taken: Mapping[str, int] = field(default_factory=dict)  # target → slot
    following: int = 0


def slot_count(targets: int) -> int:
    """Return how many slots a group of so many targets gets: room for as many again, a power of two.

    >>> slot_count(0), slot_count(4), slot_count(5)
    (8, 8, 16)
    """
    return max(FEWEST, 1 << (2 * targets - 1).bit_length() if targets else 0)


def assigned(before: Slots | None, targets: Sequence[Target]) -> Slots:
    """Return the slots for `targets`; a target keeps the slot that it has, and slots never become fewer.

    >>> one = assigned(None, [Target("a", 1), Target("b", 2)])
    >>> assigned(one, [Target("b", 2), Target("c", 3)]).taken
    {'b': 1, 'c': 2}
    """
    count = slot_count(len(targets))
    if before is None:
        before = Slots(count)
    elif len(targets) <= before.count:
        count = before.count
    taken = {t.name: before.taken[t.name] for t in targets if t.name in before.taken}
    used, at = set(taken.values()), before.following
    for target in targets:
        if target.name in taken:
            continue
        while at % count in used:
            at += 1
        taken[target.name] = at % count
        used.add(at % count)
        at += 1
    return Slots(count, taken, at % count)


def all_assigned(before: Mapping[str, Slots], groups: Sequence[EdgeGroup]) -> dict[str, Slots]:
    """Return the slots of every group by name; those of groups that are not named are forgotten."""
    return {group.name: assigned(before.get(group.name), group.targets) for group in groups}


def server_name(slot: int) -> str:
    """Return how the server in a slot is called within its group."""
    return f"s{slot}"


def server_lines(group: EdgeGroup, slots: Slots) -> Iterator[str]:
    """Yield what the configuration says of each server slot of a group. Weight 0 is draining."""
    by_slot = {slots.taken[target.name]: target for target in group.targets}
    for number in range(slots.count):
        target = by_slot.get(number)
        if target is None:
            yield f"  server {server_name(number)} 127.0.0.1:1 weight 1 disabled"
        else:
            yield f"  server {server_name(number)} {target.host}:{target.port} weight {0 if target.is_draining else 1}"
