"""Groups and the ordinals of their instances: given before launch, ended by `Retire`, never used twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anew.core.names import instance_name
from anew.core.steps import Drain, Forget, Retire, Taint
from anew.core.world import Allotment, GroupState, TaskState
from anew.errors import NotFound
from anew.model import Generation, Group
from anew.shell.database import Stale, clean, encode
from anew.shell.portpool import next_port

if TYPE_CHECKING:
    from anew.core.steps import Allot
    from anew.model import Bytes, Image, Scope
    from anew.ports import Clock
    from anew.shell.database import Database
    from anew.shell.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Ended:
    """How one instance ended."""

    name: str
    outcome: str
    is_death: bool
    tainted: str
    peak_memory: Bytes
    at: float


DEATHS = 64  # so many times are remembered of a group


class Instances:
    """The groups of all environments of this state, and what was allotted to their instances."""

    def __init__(self, database: Database, clock: Clock, ledger: Ledger) -> None:
        self._database = database
        self._clock = clock
        self._ledger = ledger

    def groups(self, scope: Scope) -> dict[str, GroupState]:
        """Return the groups that are not disposed of, by name."""
        with self._database.reading():
            rows = self._database.rows("groups", environment=self._database.place(scope))
        return {row["name"]: self._state(row) for row in rows}

    def all_groups(self, scope: Scope) -> tuple[dict[str, Group], frozenset[str]]:
        """Return all groups there ever were, by name, and the names of those that are disposed of."""
        with self._database.reading():
            rows = self._database.rows("all_groups", environment=self._database.place(scope))
        groups = {row["name"]: self._database.decode(row["body"], Group) for row in rows}
        return groups, frozenset(row["name"] for row in rows if row["is_forgotten"])

    def group_images(self, scope: Scope) -> dict[str, Image]:
        """Return the image of each group that is not disposed of, by the group's name."""
        return {name: state.group.image for name, state in self.groups(scope).items()}

    def forget_group(self, scope: Scope, name: str) -> None:
        """Commit that a group is disposed of.

        Idempotent  what is disposed of stays so.
        Raises      NotFound if it never was; Stale if it has instances, or a generation that is kept maps to it.
        """
        with self._database.writing():
            place = self._database.place(scope)
            group = self._group(place, name)
            if group["is_forgotten"]:
                return
            left = self._database.row("unfinished_in_group", environment=place, group_name=name)
            if left is not None and left["number"]:
                raise Stale(f"{name} has {left['number']} instances left")
            for row in self._database.rows("generations", environment=place):
                one = self._database.decode(row["body"], Generation)
                if not one.is_retired and any(member.group == name for member in one.members):
                    raise Stale(f"{one.name} maps to {name} meanwhile")
            self._database.change("forget_group", environment=place, name=name)
            self._database.change("close_doors", environment=place, group_name=name)
            self._ledger.append(place, "decision", Forget(name).describe(), {"group": name})

    def allot(self, scope: Scope, step: Allot, free: Callable[[int], bool]) -> Allotment:
        """Commit an ordinal and a port for an instance that is to be launched.

        Idempotent  an ordinal in use keeps what it was given.
        Raises      Stale if the ordinal was used up or the group is disposed of; Conflict if no port is free.
        """
        with self._database.writing():
            place = self._database.place(scope)
            given = self._database.row("allotment", environment=place, group_name=step.group, ordinal=step.ordinal)
            if given is not None and not given["is_ended"]:
                return _allotment(given)
            group = self._group(place, step.group)
            if given is not None or group["is_forgotten"] or step.ordinal < group["next_ordinal"]:
                raise Stale(f"ordinal {step.ordinal} of {step.group} can't be given any more")
            name = instance_name(scope, step.group, step.ordinal)
            port = next_port(self._database, free)
            self._database.change(
                "add_allotment",
                environment=place,
                group_name=step.group,
                ordinal=step.ordinal,
                service=group["service"],
                name=name,
                port=port,
                at=self._clock.now(),
                task=step.task,
                due=step.due,
            )
            self._database.change("set_next_ordinal", environment=place, name=step.group, next_ordinal=step.ordinal + 1)
            facts = {"instance": name, "group": step.group, "port": str(port)}
            self._ledger.append(place, "decision", step.describe(), facts)
        return Allotment(name, step.group, step.ordinal, port, task=step.task)

    def launched(self, name: str) -> None:
        """Record when an instance was launched; the first time counts."""
        with self._database.writing():
            self._instance(name)
            self._database.change("set_launched", name=name, at=self._clock.now())

    def drain(self, name: str) -> None:
        """Commit that an instance gets no new requests; its bound starts at the first call."""
        with self._database.writing():
            row = self._instance(name)
            if self._database.change("set_draining", name=name, at=self._clock.now()):
                self._ledger.append(row["environment"], "decision", Drain(name).describe(), {"instance": name})

    def taint(self, name: str, evidence: str, *, is_leaving: bool) -> None:
        """Commit that something touched an instance, and what; the first evidence counts.

        If it is leaving for that, it is a death to its group: where each new instance is touched again, they follow
        ever more slowly.
        """
        evidence = clean(evidence)
        with self._database.writing():
            row = self._instance(name)
            if not self._database.change("set_tainted", name=name, evidence=evidence):
                return
            if is_leaving:
                self._add_death(row, f"tainted: {evidence}")
            text = Taint(name, evidence).describe()
            self._ledger.append(row["environment"], "decision", text, {"instance": name, "evidence": evidence})

    def set_aside(self, name: str, reason: str, hold: float) -> None:
        """Commit that somebody asks for an instance to leave, and until when it is kept then; the last call counts.

        Raises  Stale if it has ended.
        """
        with self._database.writing():
            row = self._instance(name)
            if not self._database.change("set_aside", name=name, reason=reason, hold=hold):
                raise Stale(f"{name} has ended")
            if row["aside"] != reason:
                text = f"{name} is to leave: {reason}" if reason else f"{name} stays"
                self._ledger.append(row["environment"], "wish", text, {"instance": name})

    def _add_death(self, row: sqlite3.Row, outcome: str) -> None:
        place, group = row["environment"], self._group(row["environment"], row["group_name"])
        deaths = [*self._database.decode(group["deaths"], list[float]), self._clock.now()][-DEATHS:]
        self._database.change(
            "save_deaths", environment=place, name=group["name"], deaths=encode(deaths), outcome=outcome
        )

    def retire(self, name: str, outcome: str, *, is_death: bool) -> None:
        """Commit that an instance has ended and why; a death is remembered by its group. The first answer counts."""
        with self._database.writing():
            row = self._instance(name)
            if row["is_ended"]:
                return
            now, outcome = self._clock.now(), clean(outcome)
            self._database.change("end_allotment", name=name, at=now, outcome=outcome, is_death=int(is_death))
            if is_death:
                self._add_death(row, outcome)
            facts = {"instance": name, "outcome": outcome, "died": "yes" if is_death else "no"}
            text = Retire(name, outcome, is_death).describe()
            self._ledger.append(row["environment"], "decision", text, facts)

    def allotments(self, scope: Scope) -> tuple[Allotment, ...]:
        """Return the ordinals in use, oldest first."""
        with self._database.reading():
            rows = self._database.rows("allotments", environment=self._database.place(scope))
        return tuple(_allotment(row) for row in rows)

    def note_memory(self, name: str, peak: Bytes) -> None:
        """Record the most memory that an instance had, as far as it is known; the most of all calls counts."""
        with self._database.writing():
            self._instance(name)
            self._database.change("set_peak_memory", name=name, bytes=peak)

    def ended(self, scope: Scope, group: str) -> tuple[Ended, ...]:
        """Return how the instances of a group ended, oldest first."""
        with self._database.reading():
            rows = self._database.rows("ended_in_group", environment=self._database.place(scope), group_name=group)
        return tuple(
            Ended(r["name"], r["outcome"], bool(r["is_death"]), r["tainted"], r["peak_memory"], r["ended"])
            for r in rows
        )

    def tasks(self, scope: Scope) -> dict[str, TaskState]:
        """Return the last run of every task that was ever begun, by its key."""
        with self._database.reading():
            rows = self._database.rows("tasks", environment=self._database.place(scope))
        return {row["task"]: TaskState(row["name"], row["due"], row["outcome"]) for row in rows}

    def names(self, scope: Scope, target: str) -> tuple[str, ...]:
        """Return the instances of a service, a group or that name ("": of all), ended ones too, newest first."""
        with self._database.reading():
            rows = self._database.rows("instance_names", environment=self._database.place(scope), target=target)
        return tuple(row["name"] for row in rows)

    def _group(self, place: int, name: str) -> sqlite3.Row:
        row = self._database.row("group", environment=place, name=name)
        if row is None:
            raise NotFound(f"there is no group {name}", where=name, hint="anew status shows the groups that are")
        return row

    def _instance(self, name: str) -> sqlite3.Row:
        row = self._database.row("instance", name=name)
        if row is None:
            raise NotFound(f"there never was an instance {name}", where=name, hint="anew status shows those that are")
        return row

    def _state(self, row: sqlite3.Row) -> GroupState:
        group = self._database.decode(row["body"], Group)
        deaths = tuple(self._database.decode(row["deaths"], list[float]))
        return GroupState(group, row["next_ordinal"], deaths, row["outcome"])


def _allotment(row: sqlite3.Row) -> Allotment:
    return Allotment(
        row["name"],
        row["group_name"],
        row["ordinal"],
        row["port"],
        row["draining"],
        row["task"],
        row["tainted"],
        row["aside"],
        row["hold"],
        row["launched"],
    )
