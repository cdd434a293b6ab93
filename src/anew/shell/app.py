"""The use cases of anew, on this machine: what every face asks for.

What only some of them need is imported there: `status` shall be fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anew.core.machine import BEFORE_FULL
from anew.core.names import RELEASE
from anew.errors import Conflict, NotFound
from anew.model import BUILD, OsAge, Scope
from anew.shell import ageing, custody, refusing
from anew.shell.carrying import Carrying
from anew.shell.developing import Developing

if TYPE_CHECKING:
    from anew import views
    from anew.core.ageing import Aged
    from anew.model import Digest, Environment, Outcome, Release, Rollout, Seconds, Spec
    from anew.ports import Say
    from anew.shell.clock import SystemClock
    from anew.shell.journal import EnvironmentRow, Journal
    from anew.shell.keeper import Keeper
    from anew.shell.keeperlock import KeeperLock
    from anew.shell.mending import Mending
    from anew.shell.observe import Observer
    from anew.shell.parts import Parts


class App(Developing, Carrying):
    """Implements `anew.cases.Anew` for one project on this machine."""

    def __init__(self, home: Path, root: Path, clock: SystemClock, journal: Journal, parts: Parts) -> None:
        super().__init__(home, root, journal, parts)
        self._clock = clock
        self._starting: dict[Scope, Callable[[], bool]] = {}  # keepers of ours, which may not have their locks yet

    # ------------------------------------------------------------ planning

    def plan(self, environment: str, say: Say) -> views.Plan:
        """Say every step that `up` would take now."""
        spec = self._workshop.spec()
        refusing.environment_of(spec, environment)
        say(f"planning for {environment}")
        scope = self._scope(spec.project, environment)
        return self._workshop.plan(spec, scope, self._observer(scope))

    # ------------------------------------------------------------ moving

    def up(self, environment: str, release: str, say: Say, *, again: bool = False, supersede: bool = False) -> int:
        """Make a release the wish of an environment."""
        from anew.shell.admitting import note_unheld, require_trusted, sealed
        from anew.shell.forecasting import Traffic

        spec = self._workshop.spec()
        settings = refusing.environment_of(spec, environment)
        scope = self._scope(spec.project, environment)
        row = self._open_environment(scope, settings)
        come = Traffic(self._observer(scope).edge)
        resumed = self._resumed(scope, row.wish, say)
        if resumed and release:
            refusing.require_idle(self._journal.rollout(scope), supersede=supersede)
        made = self._released(spec, release, say)
        refusing.refuse_host(made, settings)
        if made.digest != self._wanted(scope, row.wish):
            refusing.require_idle(self._journal.rollout(scope), supersede=supersede)  # before anything is sealed
        self._require_young(made, settings, say, is_there=made.digest == self._wanted(scope, row.wish))
        require_trusted(self._parts, scope, made, settings)
        self._try_together(scope, row.serving, made, say)
        self._parts.prepare(scope, [part.image for part in made.parts], say)
        generation = sealed(self._journal, self._parts, scope, made, settings, again=again)
        if generation.number != row.wish:
            refusing.require_idle(self._journal.rollout(scope), supersede=supersede)
            for note in come.notes(self._journal.generations.all(scope), row.serving, generation):
                say(note)
            self._journal.save_settings(scope, settings)
            self._journal.wish(scope, generation.number, "rollout", expect=row.wish)
            say(f"{made.name} is sealed as {generation.name} and wanted in {environment}")
            note_unheld(self._journal, self._parts.unheld, scope, generation, say)
        else:
            self._journal.save_settings(scope, settings)
            say(f"{made.name} is {generation.name}, which is wanted in {environment} already")
        self._act(scope)
        return generation.number

    def rollback(self, environment: str, generation: int) -> int:
        """Make an earlier generation the wish."""
        from anew.shell import ways

        scope, row = self._existing(environment)
        rollout = self._journal.rollout(scope)
        if rollout is not None and rollout.phase in (*BEFORE_FULL, "full"):
            if generation in {0, rollout.old}:
                return self.abort(environment)
            raise refusing.busy(rollout, "end it first with `anew abort`")
        has_not_begun = row.wish_kind == "rollout" and row.wish != row.serving != 0 and generation in {0, row.serving}
        target = row.serving if has_not_begun else ways.chosen(self._journal, row, generation)
        if target != row.wish:
            self._journal.wish(scope, target, "rollback", expect=row.wish)
        self._act(scope)
        return target

    def promote(self, environment: str) -> int:
        """Skip the stages that remain."""
        return self._ask(environment, "promote")

    def abort(self, environment: str) -> int:
        """Take the rollout back."""
        return self._ask(environment, "abort")

    def dispose(self, environment: str, say: Say) -> None:
        """End all that runs in the environment, and keep only its records and logs."""
        from anew.shell.disposing import dispose

        scope, row = self._existing(environment)
        lock = self._lock(scope)
        keep = lambda: self._keeper(scope, lock).run(until_idle=True, say=say)  # noqa: E731 - asked for once
        dispose(self._journal, self._parts, row, lock, keep, say)

    # ------------------------------------------------------------ keeping house

    def put_secret(self, environment: str, name: str, value: bytes) -> int:
        """Keep a new version of a secret."""
        project = self._project()
        if environment != BUILD:
            refusing.environment_of(self._workshop.spec(), environment)
        row = self._journal.open_environment(project, environment, self._parts.is_free)
        return self._journal.vault.put(row.scope, name, value)

    def run(self, environment: str, service: str, command: Sequence[str], limit: Seconds) -> Outcome:
        """Run a command in a throwaway instance of what serves."""
        from anew.shell.effects import order_of

        scope, row = self._existing(environment)
        group = custody.serving_group(self._journal, row, service)
        name = f"{scope.project}-{scope.environment}-{service}-run-{os.urandom(3).hex()}"
        compute = self._parts.compute(scope)
        order = replace(order_of(scope, group, name, 0, compute.inside(scope)), command=tuple(command))
        return compute.run(order, limit)

    def secrets(self, environment: str) -> tuple[views.SecretView, ...]:
        """Return the versions of all secrets of an environment."""
        scope = self._scope(self._project(), BUILD) if environment == BUILD else self._existing(environment)[0]
        return self._journal.vault.all(scope)

    def revoke_secret(self, environment: str, name: str, version: int) -> tuple[int, tuple[str, ...]]:
        """Make a version of a secret unusable."""
        if environment == BUILD:
            return self._journal.vault.revoke(self._scope(self._project(), BUILD), name, version), ()
        scope, row = self._existing(environment)
        return custody.revoke(self._journal, row, scope, name, version)

    def volumes(self, environment: str) -> tuple[views.VolumeView, ...]:
        """Return the volumes of an environment."""
        scope, _ = self._existing(environment)
        return custody.volumes(self._parts.volumes(scope), scope)

    def remove_volume(self, environment: str, service: str, name: str, *, is_forced: bool) -> views.VolumeRemoved:
        """Remove a volume that no instance has."""
        scope, _ = self._existing(environment)
        engine = self._parts.volumes(scope)
        return custody.remove_volume(self._journal, engine, scope, (service, name), is_forced=is_forced)

    def collect(self, say: Say, *, is_dry: bool) -> views.Collected:
        """Remove what nothing of this state needs any more."""
        from anew.shell import collecting
        from anew.shell.leases import LEASES, Leases

        parts = self._parts
        leases = Leases(self._home / LEASES)
        stores = collecting.Stores(parts.stockroom(), parts.archive(), parts.own_images(), parts.copies(), leases)
        projects = {row.scope.project for row in self._journal.environments()}
        ended = self._workshop.tidy(say, projects, is_dry=is_dry)
        found = collecting.collect(self._journal, stores, self._clock, say, is_dry=is_dry)
        return replace(found, removed=(*(f"throwaway instance {name}" for name in ended), *found.removed))

    def serve(self, environment: str, *, until_idle: bool, say: Say) -> None:
        """Be the keeper of the environment."""
        scope, _ = self._existing(environment)
        self._keeper(scope, self._lock(scope)).run(until_idle=until_idle, say=say)

    def rebirth(self, environment: str, service: str) -> tuple[str, ...]:
        """Replace what serves, one instance after the other."""
        return self._mending(environment).rebirth(service)

    def take_aside(self, environment: str, service: str, say: Say) -> str:
        """Take one instance out of traffic."""
        return self._mending(environment).take_aside(service, say)

    def hold(self, environment: str, name: str, span: Seconds) -> None:
        """Hold what was taken aside."""
        self._mending(environment).hold(name, span)

    def entry(self, environment: str, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return how one gets into an instance."""
        scope, _ = self._existing(environment)
        return self._parts.inspection(scope).entry(name, command)

    def _mending(self, environment: str) -> Mending:
        from anew.shell.mending import Mending

        scope, _ = self._existing(environment)
        return Mending(scope, self._journal, self._clock, self._observer(scope).world, lambda: self._act(scope))

    # ------------------------------------------------------------ looking

    def status(self, environment: str) -> views.Status:
        """Return what there is now; of an environment that was never used, that nothing is there."""
        from anew.shell import viewing
        from anew.shell.says import heard
        from anew.views import Status

        project = self._project()
        if self._journal.environment(project, environment) is None:
            refusing.environment_of(self._workshop.spec(), environment)
            return Status(project, environment, "", "", "", "nothing was ever brought up", 0, "")
        scope, row = self._existing(environment)
        keeper = self._lock(scope).holder()
        world = self._observer(scope).world()
        found = viewing.status(world, self._journal.last_rollout(scope), heard(self._says(scope)), keeper)
        return replace(found, notes=ageing.notes(self._heads_of(project, found.release, row.settings), row.settings))

    def releases(self) -> tuple[views.ReleaseView, ...]:
        """Return all releases of the project."""
        from anew.shell import viewing

        return viewing.releases(self._journal, self._project())

    def history(self, environment: str, limit: int) -> tuple[views.Event, ...]:
        """Return the newest events of the ledger."""
        scope, _ = self._existing(environment)
        return self._journal.ledger.events(scope, limit)

    def logs(self, environment: str, target: str, lines: int) -> tuple[tuple[str, str], ...]:
        """Return what instances wrote."""
        from anew.shell import viewing

        scope, _ = self._existing(environment)
        return viewing.logs(self._journal, self._parts.compute(scope), scope, target, lines)

    def why(self, environment: str, generation: int) -> views.Why:
        """Return why a generation is what it is."""
        from anew.shell.autopsy import why
        from anew.shell.evidence import up_to_now

        scope, row = self._existing(environment)
        known = self._journal.generations.all(scope)

        def now(rollout: Rollout) -> Rollout:
            return up_to_now(rollout, known, self._clock.now(), self._parts.edge(scope).reading())

        return why(self._journal, self._parts.compute(scope), row, generation, now)

    def verify(self, environment: str) -> views.Verified:
        """Walk the chain of the ledger."""
        from anew.shell import vouching

        scope, _ = self._existing(environment)
        return vouching.witnessed(self._journal, self._parts.witness(scope), scope)

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema of the spec."""
        return self._parts.schema()

    def doctor(self) -> tuple[views.Check, ...]:
        """Return what this machine has and lacks."""
        return self._parts.doctor()

    # ------------------------------------------------------------ inside

    def _scope(self, project: str, environment: str) -> Scope:
        return Scope(project, environment, self._journal.owner)

    def _project(self) -> str:
        return self._parts.project(self._root)

    def _existing(self, environment: str) -> tuple[Scope, EnvironmentRow]:
        project = self._project()
        row = self._journal.environment(project, environment)
        if row is None:
            refusing.environment_of(self._workshop.spec(), environment)
            raise NotFound(
                f"nothing was ever brought up in the environment {environment!r} of {project}",
                hint=f"`anew up -e {environment}` brings it up",
            )
        return row.scope, row

    def _open_environment(self, scope: Scope, settings: Environment) -> EnvironmentRow:
        """Return the environment, made if need be; refuse at once, and not as a failed rollout, what can't be reached.

        Raises  Conflict if another program has the public address; SpecError or Unsupported if it can't be had.
        """
        row = self._journal.open_environment(scope.project, scope.environment, self._parts.is_free)
        if row.settings.engine != settings.engine:
            keeper, left = self._lock(scope).holder(), self._journal.instances.allotments(scope)
            refusing.require_empty(scope, settings.engine, left, keeper)
            self._parts.require_engine(settings.engine)
            self._journal.save_settings(scope, settings)
        self._parts.require_address(scope, settings.host, settings.port)
        if not self._parts.edge(scope).reading().is_up:
            self._journal.move_preview(scope, self._parts.is_free)
        return row

    def _observer(self, scope: Scope) -> Observer:
        from anew.shell.observe import Observer

        return Observer(scope, self._journal, self._parts.compute(scope), self._parts.edge(scope), self._clock)

    def _keeper(self, scope: Scope, lock: KeeperLock) -> Keeper:
        from anew.shell.keeper import Keeper

        return Keeper(scope, self._clock, self._journal, self._parts, lock, self._says(scope))

    def _lock(self, scope: Scope) -> KeeperLock:
        from anew.shell.keeperlock import KeeperLock

        return KeeperLock(self._home / "keepers", scope)

    def _says(self, scope: Scope) -> Path:
        return self._home / "keepers" / f"{scope.project}.{scope.environment}.says.json"

    def _act(self, scope: Scope) -> None:
        lock = self._lock(scope)
        lock.wake()
        is_starting = self._starting.get(scope, bool)()  # none was started: False
        if not lock.holder() and not is_starting:
            self._starting[scope] = self._parts.start_keeper(scope)

    def _ask(self, environment: str, what: str) -> int:
        from anew.shell.beginning import begun

        scope, _ = self._existing(environment)
        rollout = begun(self._journal, scope, self._clock)
        if rollout is None or rollout.phase not in (*BEFORE_FULL, "full"):
            hint = "to leave the generation that serves, use `anew rollback`" if what == "abort" else ""
            raise Conflict(f"no rollout is under way in {scope}, so there is nothing to {what}", hint=hint)
        if what == "abort" and rollout.kind == "rollback" and rollout.phase == "full":
            raise refusing.busy(
                rollout, "a rollback that has the traffic is not taken back; roll back again, or `anew up`"
            )
        self._journal.ask(scope, "abort" if what == "abort" else "promote")
        self._act(scope)
        return rollout.new

    def _resumed(self, scope: Scope, wish: int, say: Say) -> bool:
        """Let a keeper go on with what was begun and lost its keeper; return whether a rollout is under way."""
        from anew.shell import viewing

        rollout = self._journal.rollout(scope)
        if not viewing.is_under_way(rollout):
            return False
        if not self._lock(scope).holder():
            say(f"going on with the rollout to g{wish}, which had lost its keeper")
            self._act(scope)
        return True

    def _wanted(self, scope: Scope, wish: int) -> Digest:
        """Return the digest of the release that is wanted; "" if none is."""
        generation = self._journal.generations.all(scope).get(wish)
        return generation.digest if generation else ""

    def _released(self, spec: Spec, release: str, say: Say) -> Release:
        """Return the release of that name, or the one that serves in the environment of that name, or a new one."""
        if not release:
            return self._workshop.release(spec, say)
        if RELEASE.match(release):
            return self._journal.releases.named(spec.project, release)
        scope, row = self._existing(release)
        serving = self._journal.generations.all(scope).get(row.serving)
        if serving is None:
            raise NotFound(f"nothing serves in {scope}, so there is no release to take from there")
        say(f"{serving.release} serves in {release}, as {serving.name}")
        return self._journal.releases.named(spec.project, serving.release)

    def _heads_of(self, project: str, release: str, settings: Environment) -> tuple[Aged, ...]:
        """Return the heads of a release; () where nothing is said of their age."""
        if not release or settings.max_os_age == OsAge():
            return ()
        made = self._journal.releases.named(project, release)
        return ageing.of_parts(self._parts.making(self._root), made.parts, made.at, self._clock.now())

    def _require_young(self, made: Release, settings: Environment, say: Say, *, is_there: bool) -> None:
        heads = self._heads_of(made.project, made.name, settings)
        ageing.require_young(made, heads, settings, say, is_there=is_there)

    def _try_together(self, scope: Scope, serving: int, made: Release, say: Say) -> None:
        """Try callers that serve now with the callees that are to come: for a while they may meet."""
        generation = self._journal.generations.all(scope).get(serving)
        if generation is not None and generation.digest != made.digest:
            old = self._journal.releases.named(scope.project, generation.release)
            self._workshop.test_skew(scope.project, old, made, say)
