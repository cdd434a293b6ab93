"""The journal: the truth about decisions, for all projects and environments of a machine.

Rules

1. What can't be observed again is committed here before it is acted on.
2. A commit is a compare-and-set: it fails with `Stale` if what it was decided on has changed meanwhile.
3. Numbers order things and are never used twice; times are only shown.
4. Every commit tells the ledger in its own transaction.

What belongs to releases, generations, instances, ports and the ledger stands in `releases`, `generations`,
`instances`, `ports` and `ledger`; here are the environments, their wishes and their rollouts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anew.errors import Conflict, NotFound
from anew.model import Environment, Scope
from anew.shell.database import PATIENCE, Database, Stale, clean, encode
from anew.shell.ledger import Ledger, first_hash
from anew.shell.portpool import PortPool, next_port
from anew.shell.releases import Releases
from anew.shell.vault import Vault

if TYPE_CHECKING:
    from anew.core.consequences import Change
    from anew.core.steps import Begin, Enter
    from anew.model import Rollout, Seconds, Window
    from anew.ports import Clock
    from anew.shell.generations import Generations
    from anew.shell.instances import Instances
    from anew.shell.windows import Windows

__all__ = ["Also", "EnvironmentRow", "Journal", "Observed", "Stale"]

Kind = Literal["rollout", "rollback"]
JUDGED = "judged stage"  # a fact of the same event: the number of that stage, from 0
VERDICT = "verdict "  # a fact of the event that a stage was left: what was said of a service
OVER = frozenset({"done", "rolled back"})


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment as the journal knows it; `scope.owner` is filled in."""

    scope: Scope
    preview_port: int
    wish: int  # generation number; 0: nothing is wanted
    wish_kind: Kind
    serving: int  # the generation that has the traffic; 0: none
    settings: Environment


@dataclass(frozen=True, slots=True)
class Also:
    """What else is committed together with entering a phase; None leaves it as it is.

    The wish is set back only if it still is the rollout's own: what somebody wanted meanwhile stands.
    """

    serving: int | None = None
    wish: int | None = None
    wish_kind: Kind | None = None
    changes: tuple[Change, ...] = ()  # of generations


@dataclass(frozen=True, slots=True)
class Observed:
    """What the edge had counted when a phase was entered, what the groups did in stages, and what was said of it."""

    counts: tuple[tuple[str, int, int], ...] = ()  # group, trials, bad ones
    slows: tuple[tuple[str, int], ...] = ()  # group, slow ones
    slow: tuple[tuple[str, int], ...] = ()  # service → microseconds; (): as before
    windows: tuple[Window, ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()  # service, "pass" or "fail" or "undecided"; when a stage was left
    stage: int = 0  # that was left


class Journal:
    """Environments, wishes and rollouts, and through its attributes all else that is committed.

    Opens its file at first use. May be shared by threads; `patience` is how long a commit waits for another process.
    """

    def __init__(self, path: Path, clock: Clock, *, patience: Seconds = PATIENCE) -> None:
        self._database = Database(path, patience=patience)
        self._clock = clock
        self.ledger = Ledger(self._database, clock)
        self.releases = Releases(self._database, clock)
        self.ports = PortPool(self._database)
        self.vault = Vault(self._database, clock, self.ledger, path.parent / "keys" / "secrets")

    @cached_property
    def generations(self) -> Generations:
        """The generations of all environments; builds have nothing to do with them, nor with what runs."""
        from anew.shell.generations import Generations

        return Generations(self._database, self._clock, self.ledger)

    @cached_property
    def instances(self) -> Instances:
        """The groups of all environments, and their instances."""
        from anew.shell.instances import Instances

        return Instances(self._database, self._clock, self.ledger)

    @cached_property
    def windows(self) -> Windows:
        """What was counted in the rollouts of all environments."""
        from anew.shell.windows import Windows

        return Windows(self._database)

    @property
    def owner(self) -> str:
        """The id of this state, made at random once."""
        return self._database.owner

    def reading(self) -> AbstractContextManager[None]:
        """Let everything that is read inside be one and the same state."""
        return self._database.reading()

    def stamp(self) -> tuple[int, ...]:
        """Return what differs whenever anything was committed meanwhile, by this process or another."""
        return self._database.stamp()

    def transaction(self) -> AbstractContextManager[None]:
        """Commit everything inside together, or nothing if an error leaves it; nobody else commits meanwhile."""
        return self._database.writing()

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._database.close()

    # ------------------------------------------------------------ environments

    def open_environment(
        self, project: str, name: str, free: Callable[[int], bool] = lambda _port: True
    ) -> EnvironmentRow:
        """Return an environment; at its first use it is made, and gets a preview port that `free` says is free."""
        found = self.environment(project, name)
        if found is not None:
            return found
        with self._database.writing():
            found = self.environment(project, name)
            if found is not None:
                return found
            port = next_port(self._database, free)
            self._database.change(
                "add_environment",
                project=project,
                name=name,
                preview_port=port,
                settings=encode(Environment(name)),
                last_hash=first_hash(self.owner, project, name),
            )
            scope = Scope(project, name, self.owner)
            self.ledger.note(scope, "note", f"{scope} is used for the first time", {"preview_port": str(port)})
        return EnvironmentRow(scope, port, 0, "rollout", 0, Environment(name))

    def move_preview(self, scope: Scope, free: Callable[[int], bool]) -> None:
        """Promise an environment whose edge is down another preview port, unless `free` says that its own is free.

        Raises  Conflict if no port is free.
        """
        with self._database.writing():
            place, before = self._row(scope)
            if not free(before.preview_port):
                port = next_port(self._database, free)
                self._database.change("save_preview_port", environment=place, port=port)
                self.ledger.append(place, "note", f"{scope} has another preview port", {"preview_port": str(port)})

    def environment(self, project: str, name: str) -> EnvironmentRow | None:
        """Return an environment, or None if it was never used."""
        row = self._database.row("environment", project=project, name=name)
        return None if row is None else self._environment(row)

    def environments(self) -> tuple[EnvironmentRow, ...]:
        """Return the environments of all projects, sorted by project and name."""
        return tuple(self._environment(row) for row in self._database.rows("environments"))

    def save_settings(self, scope: Scope, settings: Environment) -> None:
        """Remember what the file says of the environment, so that its keeper never needs to read it."""
        with self._database.writing():
            place = self._database.place(scope)
            if self._database.change("save_settings", environment=place, settings=encode(settings)):
                self.ledger.append(place, "note", f"{scope} has new settings")

    def wish(self, scope: Scope, generation: int, kind: Kind, expect: int | None) -> None:
        """Make `generation` the wish (0: nothing is wanted).

        Idempotent  what is wished already is left as it is.
        Raises      Stale if the wish was not `expect`, unless that is None; NotFound for an unknown generation.
        """
        with self._database.writing():
            place, before = self._row(scope)
            if generation and (before.wish, before.wish_kind) == (generation, kind):
                return  # two asked for the same at once, and the other was first
            if expect is not None and before.wish != expect:
                raise Stale(
                    f"the wish of {scope} is g{before.wish} meanwhile, not g{expect}",
                    where=str(scope),
                    hint="look with anew status, and decide again",
                )
            self._need(place, generation)
            if (before.wish, before.wish_kind) == (generation, kind):
                return
            self._database.change("set_wish", environment=place, generation=generation, kind=kind)
            facts = {"generation": f"g{generation}", "kind": kind, "before": f"g{before.wish}"}
            self.ledger.append(place, "wish", f"g{generation} is wanted ({kind})", facts)

    # ------------------------------------------------------------ rollouts

    def begin(self, scope: Scope, step: Begin, free: Callable[[int], bool] = lambda _port: True) -> Rollout:
        """Commit that a rollout begins, in the phase that `step` says, and which groups stand beside the new ones.

        Raises  Conflict if one is under way; Stale if `step.new` is not the wish any more.
        """
        from anew.model import Rollout

        with self._database.writing():
            place, row = self._row(scope)
            going = self._under_way(place)
            if going is not None:
                raise Conflict(
                    f"the {going.kind} to g{going.new} is under way in {scope} ({going.phase})",
                    where=str(scope),
                    hint="wait for its end, or take it back: anew abort",
                )
            self._need(place, step.new)
            if row.wish != step.new:
                raise Stale(f"g{row.wish} is wanted in {scope} meanwhile, not g{step.new}", where=str(scope))
            now = self._clock.now()
            begun = Rollout(0, step.kind, step.old, step.new, step.phase, now, reason=clean(step.reason), begun=now)
            number = self._database.add("add_rollout", environment=place, body=encode(begun))
            begun = replace(begun, id=number)
            self.generations.add_baselines(scope, place, begun, free)
            self.ledger.append(place, "decision", step.describe(), _facts(begun))
        return begun

    def enter(self, scope: Scope, step: Enter, *, seen: Observed | None = None, also: Also | None = None) -> Rollout:
        """Commit that the rollout enters a phase, and what goes with it.

        Raises  Stale if the rollout has moved since `step.version`, or has ended.
        """
        also, seen = also or Also(), seen or Observed()
        with self._database.writing():
            place, row = self._row(scope)
            going = self._under_way(place)
            if going is None or (going.id, going.version) != (step.rollout, step.version):
                raise Stale(f"rollout {step.rollout} of {scope} has moved meanwhile", where=str(scope))
            entered = replace(
                going,
                phase=step.phase,
                stage=step.stage,
                since=self._clock.now(),
                reason=clean(step.reason),
                counts=seen.counts,
                slows=seen.slows,
                slow=seen.slow or going.slow,
                windows=seen.windows or going.windows,
            )
            entered = self._save(place, entered)
            if also.serving is not None:
                self._need(place, also.serving)
                self._database.change("set_serving", environment=place, generation=also.serving)
            wish = also.wish if row.wish == going.new else None
            if wish is not None:
                self._need(place, wish)
                kind = also.wish_kind or row.wish_kind
                self._database.change("set_wish", environment=place, generation=wish, kind=kind)
            self.generations.apply(place, also.changes)
            told = _told(also, wish) | {f"{VERDICT}{service}": kind for service, kind in seen.verdicts}
            told |= {JUDGED: str(seen.stage)} if seen.verdicts else {}
            self.ledger.append(place, "decision", clean(step.describe()), _facts(entered) | told)
        return entered

    def ask(self, scope: Scope, intention: Literal["abort", "promote"]) -> Rollout:
        """Commit what an operator wants of the rollout under way; Conflict if there is none."""
        with self._database.writing():
            place = self._database.place(scope)
            going = self._under_way(place)
            if going is None:
                raise Conflict(f"nothing is under way in {scope} to {intention}", where=str(scope), hint="anew status")
            if going.asked == intention:
                return going
            asked = self._save(place, replace(going, asked=intention))
            self.ledger.append(place, "wish", f"{intention} the {going.kind} to g{going.new}", _facts(asked))
        return asked

    def tested(self, scope: Scope, rollout: int, result: str) -> Rollout:
        """Commit what the preview tests of a rollout found: ``passed``, or why they failed.

        Raises  Stale if that rollout is not under way any more.
        """
        with self._database.writing():
            place = self._database.place(scope)
            going = self._under_way(place)
            if going is None or going.id != rollout:
                raise Stale(f"rollout {rollout} of {scope} has ended meanwhile", where=str(scope))
            result = clean(result)
            if going.tested == result:
                return going
            saved = self._save(place, replace(going, tested=result))
            self.ledger.append(place, "gate", f"preview tests of g{going.new}: {result}", _facts(saved))
        return saved

    def vacate(self, scope: Scope) -> None:
        """Commit that nothing is wanted and nothing serves any more: the rollout under way ends, warm windows too."""
        from anew.core.consequences import Change

        with self._database.writing():
            place, row = self._row(scope)
            going = self._under_way(place)
            known = self.generations.all(scope)
            if going is not None:
                reason = "the environment was disposed of"
                self._save(place, replace(going, phase="rolled back", reason=reason))
                if known[going.new].outcome != "promoted":  # it may be wanted again, and begins anew then
                    self.generations.apply(place, (Change(going.new, "withdrawn", reason),))
            warm = [n for n, g in known.items() if g.warm_until]
            self.generations.apply(place, tuple(Change(n, warm_until=0.0) for n in warm))
            if not (going or warm or row.serving or row.wish):
                return
            self._database.change("set_serving", environment=place, generation=0)
            self._database.change("set_wish", environment=place, generation=0, kind="rollout")
            self.ledger.append(place, "wish", f"{scope} is disposed of: nothing is wanted any more")

    def rollout(self, scope: Scope) -> Rollout | None:
        """Return the rollout under way, or None."""
        with self._database.reading():
            return self._under_way(self._database.place(scope))

    def last_rollout(self, scope: Scope) -> Rollout | None:
        """Return the newest rollout, under way or ended; None if there never was one."""
        with self._database.reading():
            return self._rollout(self._database.row("last_rollout", environment=self._database.place(scope)))

    # ------------------------------------------------------------ rows

    def _row(self, scope: Scope) -> tuple[int, EnvironmentRow]:
        place = self._database.place(scope)
        row = self.environment(scope.project, scope.environment)
        if row is None:
            raise NotFound(f"the environment {scope} was never used", where=str(scope))
        return place, row

    def _environment(self, row: sqlite3.Row) -> EnvironmentRow:
        scope = Scope(row["project"], row["name"], self.owner)
        settings = self._database.decode(row["settings"], Environment)
        return EnvironmentRow(scope, row["preview_port"], row["wish"], row["wish_kind"], row["serving"], settings)

    def _need(self, place: int, generation: int) -> None:
        if generation and self._database.row("generation", environment=place, number=generation) is None:
            hint = "anew history shows those that are"
            raise NotFound(f"there is no generation g{generation}", where=f"g{generation}", hint=hint)

    def _under_way(self, place: int) -> Rollout | None:
        return self._rollout(self._database.row("rollout_under_way", environment=place))

    def _rollout(self, row: sqlite3.Row | None) -> Rollout | None:
        if row is None:
            return None
        from anew.model import Rollout

        return replace(self._database.decode(row["body"], Rollout), id=row["id"], version=row["version"])

    def _save(self, place: int, rollout: Rollout) -> Rollout:
        which = {"environment": place, "id": rollout.id, "version": rollout.version}
        is_over = int(rollout.phase in OVER)
        if self._database.change("save_rollout", **which, is_over=is_over, body=encode(rollout)) != 1:
            raise Stale(f"rollout {rollout.id} has moved meanwhile")
        return replace(rollout, version=rollout.version + 1)


def _facts(rollout: Rollout) -> dict[str, str]:
    return {
        "rollout": str(rollout.id),
        "generation": f"g{rollout.new}",
        "phase": rollout.phase,
        "version": str(rollout.version),
    }


def _told(also: Also, wish: int | None) -> dict[str, str]:
    facts = {"serving": also.serving, "wish": wish}
    told = {key: f"g{number}" for key, number in facts.items() if number is not None}
    ended = ", ".join(f"g{one.number} {one.outcome}" for one in also.changes if one.outcome)
    return told | ({"outcome": ended} if ended else {})
