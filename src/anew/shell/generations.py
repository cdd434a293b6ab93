"""Generations: a release sealed for one environment, what became of it, and which seals failed here before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core.control import baselines
from anew.core.digest import digest_bytes
from anew.core.identity import seal_digest
from anew.core.names import group_name, original
from anew.core.steps import Keep
from anew.errors import Bug, Conflict, NotFound
from anew.model import Door, Generation, Group, Need
from anew.shell.database import Stale, encode
from anew.shell.portpool import next_port

if TYPE_CHECKING:
    from anew.core.consequences import Change
    from anew.model import Digest, Member, Release, Rollout, Scope, Seal
    from anew.ports import Clock
    from anew.shell.database import Database
    from anew.shell.ledger import Ledger


class Generations:
    """The generations of all environments of this state."""

    def __init__(self, database: Database, clock: Clock, ledger: Ledger) -> None:
        self._database = database
        self._clock = clock
        self._ledger = ledger

    def seal(
        self,
        scope: Scope,
        release: Release,
        members: Sequence[Member],
        seals: Sequence[Seal],
        free: Callable[[int], bool],
        *,
        again: bool = False,
    ) -> Generation:
        """Seal `release` for `scope`; return the new generation, or the newest or the wanted one if that is it.

        Shapes      `members[n]` goes with `seals[n]`, whose image is the release's; `group` of the members is filled
                    in here. A service whose seal a group that is not disposed of has already is mapped to that
                    group, else to a new one, which gets its doors, of ports that `free` says can be bound.
        Idempotent  unless `again`, which seals anew what was rolled back.
        Raises      Conflict if another environment's instances would have the same names.
        """
        images = {part.service.name: part.image for part in release.parts}
        if [one.service for one in members] != [one.service for one in seals] or any(
            one.service not in images or images[one.service].digest != one.image for one in seals
        ):
            raise Bug("members, seals and the release's images do not go together", where=str(scope))
        with self._database.writing():
            place = self._database.place(scope)
            row = self._database.row("progress", environment=place)
            last, serving = (row["last_generation"], row["serving"]) if row else (0, 0)
            number = last + 1
            known = {(g["service"], g["digest"]): g["name"] for g in self._database.rows("groups", environment=place)}
            digests = {one.service: seal_digest(one) for one in seals}
            names = {s: known.get((s, d), group_name(s, number)) for s, d in digests.items()}
            filled = tuple(replace(one, group=names[one.service]) for one in members)
            for one in (self._find(place, last), self._find(place, row["wish"]) if row else None):
                if one is not None and _is_same(one, release, filled, again=again):
                    return one
            generation = Generation(number, release.name, release.digest, filled, serving, at=self._clock.now())
            fresh = {s for s, d in digests.items() if (s, d) not in known}
            groups = [Group(names[s.service], s.service, digests[s.service], s, images[s.service]) for s in seals]
            told = [(g, g.service in fresh) for g in groups]
            self._write(scope, place, generation, [(self._with_doors(g, free) if new else g, new) for g, new in told])
        return generation

    def all(self, scope: Scope) -> dict[int, Generation]:
        """Return every generation of an environment by number, oldest first, retired ones too."""
        with self._database.reading():
            rows = self._database.rows("generations", environment=self._database.place(scope))
        found = (self._database.decode(row["body"], Generation) for row in rows)
        return {one.number: one for one in found}

    def sums(self, scope: Scope) -> dict[str, Digest]:
        """Return the digest of what is recorded of each group that is not disposed of, which nobody ever changes."""
        with self._database.reading():
            return self._sums(self._database.place(scope))

    def _sums(self, place: int) -> dict[str, Digest]:
        rows = self._database.rows("all_groups", environment=place)
        return {row["name"]: digest_bytes(row["body"].encode()) for row in rows if not row["is_forgotten"]}

    def change(self, scope: Scope, changes: Sequence[Change]) -> None:
        """Commit what becomes of generations, all of it or nothing.

        Raises  NotFound for an unknown number; Stale if one that serves or is wanted would be retired.
        """
        with self._database.writing():
            place = self._database.place(scope)
            self.apply(place, changes)
            retired = tuple(one.number for one in changes if one.is_retired)
            if retired:
                self._ledger.append(place, "decision", Keep(retired).describe())

    def apply(self, place: int, changes: Sequence[Change]) -> None:
        """Write `changes` of the environment whose row is `place`; inside `writing` only."""
        row = self._database.row("progress", environment=place)
        in_use = (row["serving"], row["wish"]) if row else ()
        for one in changes:
            if one.is_retired and one.number in in_use:
                raise Stale(f"g{one.number} is in use meanwhile and is kept")
            found = self._find(place, one.number)
            if found is None:
                raise NotFound(f"there is no generation g{one.number}", hint="anew history shows those that are")
            body = encode(one.applied(found))
            self._database.change("save_generation", environment=place, number=one.number, body=body)

    def failure_of(self, scope: Scope, seals: Sequence[Seal]) -> str:
        """Say which earlier failure sealing `seals` would repeat; "" if none.

        A generation failed with the seals that it brought in, all of them together: if one of them differs now, what
        failed is not repeated. A later generation that was promoted with the same seals lifts the failure.
        """
        wanted = {(one.service, seal_digest(one)) for one in seals}
        with self._database.reading():
            rows = self._database.rows("ended_with_seal", environment=self._database.place(scope))
        ended: dict[int, list[sqlite3.Row]] = {}
        for row in rows:
            ended.setdefault(row["generation"], []).append(row)
        good: list[set[tuple[str, str]]] = []
        for of_one in ended.values():  # newest first
            generation = self._database.decode(of_one[0]["body"], Generation)
            if generation.outcome == "promoted":
                good.append({(row["service"], row["digest"]) for row in of_one})
                continue
            if generation.outcome == "withdrawn":
                continue  # it was overtaken by another wish before it could fail
            brought = {(row["service"], row["digest"]) for row in of_one if row["is_new"]}
            if brought and brought <= wanted and not any(brought <= one for one in good):
                services = ", ".join(sorted(service for service, _ in brought))
                return f"{generation.name} failed with the same seal of {services}: {generation.reason or 'no reason'}"
        return ""

    def _find(self, place: int, number: int) -> Generation | None:
        row = self._database.row("generation", environment=place, number=number)
        return None if row is None else self._database.decode(row["body"], Generation)

    def _write(self, scope: Scope, place: int, generation: Generation, groups: list[tuple[Group, bool]]) -> None:
        """Write a new generation; each group comes with whether this generation brings it in."""
        number = generation.number
        self._database.change("add_generation", environment=place, number=number, body=encode(generation))
        self._database.change("set_last_generation", environment=place, number=number)
        for group, is_new in groups:
            if is_new:
                self._add_group(scope, place, group)
            self._database.change(
                "add_sealed",
                environment=place,
                generation=number,
                service=group.service,
                digest=group.digest,
                is_new=int(is_new),
            )
        facts = {"generation": generation.name, "release": generation.release, "digest": generation.digest}
        sums = self._sums(place)
        facts |= {"members": told_of(generation.members)} | {f"seal {g.service}": sums[g.name] for g, _ in groups}
        told = ", ".join(f"{group.name} {'new' if is_new else 'as before'}" for group, is_new in groups)
        self._ledger.append(place, "decision", f"seal {generation.release} as {generation.name}: {told}", facts)

    def add_baselines(self, scope: Scope, place: int, rollout: Rollout, free: Callable[[int], bool]) -> None:
        """Have the groups that stand beside the new ones of a rollout, to be compared with; inside `writing` only."""
        old, new = (self._members(place, number) for number in (rollout.old, rollout.new))
        for member in baselines(rollout, old, new):
            row = self._database.row("group_body", environment=place, name=original(member.group))
            if row is None:
                raise Bug(f"{original(member.group)} serves, and nothing is recorded of it", where=str(scope))
            known = self._database.decode(row["body"], Group)
            group = self._with_doors(replace(known, name=member.group, doors=()), free)
            was = self._database.row("group", environment=place, name=group.name)
            if was is None:
                self._add_group(scope, place, group)
            elif was["is_forgotten"]:  # it stood there in an earlier rollout; its ordinals go on
                self._database.change("revive_group", environment=place, name=group.name, body=encode(group))
                self._open_doors(place, group)

    def _members(self, place: int, number: int) -> dict[str, Member]:
        one = self._find(place, number) if number else None
        return {member.service: member for member in one.members} if one else {}

    def _with_doors(self, group: Group, free: Callable[[int], bool]) -> Group:
        seal, doors = group.seal, []
        wanted = [*seal.needs, *((Need(group.service, is_tcp=True),) if seal.kind == "tcp" else ())]
        for need in wanted:
            port = next_port(self._database, free)
            doors.append(Door(need.service, port, need.is_tcp))
        return replace(group, doors=tuple(doors))

    def _add_group(self, scope: Scope, place: int, group: Group) -> None:
        label = f"{scope.project}-{scope.environment}-{group.name}"
        taken = self._database.row("label_taken", label=label)
        if taken is not None:
            raise Conflict(
                f"instances of {group.name} in {scope} would be named like those of {taken['project']}/{taken['name']}",
                where=label,
                hint=f"rename the service {group.service}, the environment or the project",
            )
        is_baseline = original(group.name) != group.name
        self._database.change(
            "add_group",
            environment=place,
            name=group.name,
            service=group.service,
            digest=group.name if is_baseline else group.digest,  # no generation is ever mapped to a baseline
            label=label,
            body=encode(group),
        )
        self._open_doors(place, group)

    def _open_doors(self, place: int, group: Group) -> None:
        for door in group.doors:
            self._database.change(
                "add_door", port=door.port, environment=place, group_name=group.name, service=door.service
            )


def told_of(members: Sequence[Member]) -> str:
    """Return which group each service has in a generation, and of what size."""
    return ", ".join(f"{one.service} {one.group} {one.size}" for one in members)


def _is_same(newest: Generation, release: Release, members: tuple[Member, ...], *, again: bool) -> bool:
    is_alike = newest.digest == release.digest and newest.members == members and not newest.is_retired
    # What was overtaken may have left a command of `before` half done, so it is never taken up again as it is.
    return is_alike and newest.outcome != "withdrawn" and not (again and newest.outcome == "rolled back")
