"""Which commands bring targets into the slots where they belong, from what a worker has in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from anew.edge.saved import State
from anew.edge.slots import server_name
from anew.edge.sockets import Row
from anew.model import Declaration, EdgeGroup, Target

LOOPBACK = "127.0.0.1"


def commands(state: State, rows: Iterable[Row]) -> tuple[str, ...]:
    """Return what to tell a worker that has `rows`, so that its slots hold the targets of `state`; () if they do.

    A target is ready the moment it comes: that it answers has been proven before. Weight 0 is draining. Those that come
    are told before those that go, so a group whose targets are all replaced always has some.
    """
    wanted = _wanted(state)
    ours = [row for row in rows if row.server and row.group in state.slots]
    ours.sort(key=lambda row: (row.group, row.server) not in wanted)
    return tuple(command for row in ours for command in _changes(row, wanted.get((row.group, row.server))))


def _wanted(state: State) -> dict[tuple[str, str], Target]:
    out: dict[tuple[str, str], Target] = {}
    for group in state.declaration.groups:
        taken = state.slots[group.name].taken
        out |= {(group.name, server_name(taken[target.name])): target for target in group.targets}
    return out


def _changes(row: Row, target: Target | None) -> Iterator[str]:
    where = f"{row.group}/{row.server}"
    if target is None:
        if row.is_open:
            yield f"set server {where} state maint"
        return
    weight = 0 if target.is_draining else 1
    is_other = row.address != f"{target.host}:{target.port}"
    if is_other and row.is_open:
        yield f"set server {where} state maint"
    if is_other:
        yield f"set server {where} addr {target.host} port {target.port}"
    if row.weight != weight:
        yield f"set server {where} weight {weight}"
    if is_other or not row.is_open:
        yield f"set server {where} state ready"


def seen(state: State, rows: Iterable[Row]) -> Declaration:
    """Return the declaration of `state` with those targets that a worker really has in their slots."""
    has = {(row.group, row.server): row for row in rows if row.server and row.is_open}
    return replace(state.declaration, groups=tuple(_seen(state, group, has) for group in state.declaration.groups))


def _seen(state: State, group: EdgeGroup, has: Mapping[tuple[str, str], Row]) -> EdgeGroup:
    targets = []
    for target in group.targets:
        row = has.get((group.name, server_name(state.slots[group.name].taken[target.name])))
        if row is not None and row.address == f"{target.host}:{target.port}":
            targets.append(replace(target, is_draining=row.weight == 0))
    return replace(group, targets=tuple(targets))
