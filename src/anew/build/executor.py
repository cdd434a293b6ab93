"""`build` steps: each runs in a sandbox over the layers so far, and what it changed becomes a layer.

Rules: a step sees nothing of this machine but the clock and the processor (and, if it asks, the network); its
environment is fixed, but for what a step must know to use the network (`anew.build.reach`); its result is a checkpoint
keyed by everything that it depends on, so an unchanged step after unchanged ones is never run again. What a step was
lent (secrets) is proved to be nowhere in its result (`anew.build.absence`), or nothing of it is kept.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from anew.build import absence, console
from anew.build.definition import Job
from anew.build.drafts import scratch
from anew.build.entries import Entry, scanned
from anew.build.footing import Base, Lend, next_base
from anew.build.hygiene import clean
from anew.build.listing import resolved, stacked
from anew.build.programs import Inside, streamed
from anew.build.sandboxed import SHELL, Sandbox, Sandboxes, files_of, seen
from anew.build.store import ImageStore
from anew.errors import EngineError, NotFound, SpecError
from anew.model import Digest
from anew.ports import Say


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs steps as this process's user, which is root, or root of a user namespace with subordinate uids."""

    home: Path
    store: ImageStore
    work: Path
    tree: Callable[[Digest], Path]  # unpacked layers whose files have their true owners
    lend: Lend
    is_fresh: bool = False  # runs every step, whatever is known
    is_debugging: bool = False  # opens a shell where a step fails
    is_owner: bool = False  # of the machine: what steps make has its true owners in the store, too
    meanwhile: Callable[[], object] = nothing  # to be done while the program of a step runs; more than once

    def run_all(self, base: Base, jobs: Sequence[Job], say: Say) -> Base:
        """Run steps one after the other; return the base with what they make.

        Raises  NotFound for a secret that nobody has, before anything is run; else as `run`.
        """
        self._require_secrets(base, jobs)
        for job in jobs:
            base = self.run(base, job, say)
        return base

    def _require_secrets(self, base: Base, jobs: Sequence[Job]) -> None:
        """Raise NotFound for a secret of a step that is to be run, while none of the steps before it has taken long."""
        for job in jobs:
            base = next_base(base, job)
            if self.is_fresh or self.store.checkpoint(base.key) is None:
                for name in job.step.secrets:
                    self._lent(name, job)

    def _lent(self, name: str, job: Job) -> bytes:
        try:
            return self.lend(name)
        except NotFound as error:
            raise NotFound(error.what, where=job.where, hint=error.hint) from error

    def run(self, base: Base, job: Job, say: Say) -> Base:
        """Return the base with what a step makes on top; from its checkpoint if there is one.

        Raises  SpecError at the step without a shell in the image; EngineError with the last lines if the step fails,
                or if a secret is in what it made.
        """
        after = next_base(base, job)
        with self.store.lock(f"step {after.key}"):
            known = self.store.checkpoint(after.key)
            if known is not None and not self.is_fresh:
                say(f"unchanged {job.title}: {job.step.title}")
                made_at = self.store.made_at(after.key)
                since = min(one for one in (base.since or made_at, made_at))
                return replace(after, layers=(*base.layers, *known), reused=base.reused + 1, since=since)
            if base.reused and not base.has_run:
                many = "the step before it is" if base.reused == 1 else f"the {base.reused} steps before it are"
                say(f"going on at {job.title}: {many} not run again")
            say(f"running {job.title}: {job.step.title}")
            layers = self._made(base, job, say)
            if known is not None and known != layers:
                say(f"not reproducible: {job.title} made something else than before")
            self.store.remember_checkpoint(after.key, layers)
        return replace(after, layers=(*base.layers, *layers), has_run=True)

    def look(self, base: Base, job: Job, say: Say) -> None:
        """Open a shell in the sandbox of a step that is not run; nothing of what is done there stays."""
        self._check_shell(base, job)
        with scratch(self.work) as folder, self._sandbox(base, job, folder) as sandbox:
            say(f"a shell before {job.title}: {job.step.title}")
            console.opened(sandbox, job, say)

    def _made(self, base: Base, job: Job, say: Say) -> tuple[Digest, ...]:
        if job.step.kind == "files":
            entries = self._rendered(base, job)
            return (self.store.add_layer(entries).digest,)
        self._check_shell(base, job)
        with scratch(self.work) as folder, self._sandbox(base, job, folder) as sandbox:
            self._apply(sandbox, job, say)
            sandbox.finish()
            # Of the machine's own root, what is volatile is nothing that an image could take away.
            lower = partial(stacked, [self.store.listing(one) for one in base.layers])
            entries = clean(_scanned(folder / "upper", job), is_head=False, lower=lower)
            absence.require_absence(entries, absence.needles(sandbox.secrets, job.where), job.where)
            if not entries:
                return ()
            layer = self.store.add_layer(entries).digest
            # Sockets lead out of a network that is shared, and out of folders of the machine: somebody may still write.
            if self.is_owner and not (job.step.network or base.is_host):
                self.store.adopt(layer, entries)
            return (layer,)

    def _rendered(self, base: Base, job: Job) -> tuple[Entry, ...]:
        from anew.build import rendering  # noqa: PLC0415 - with Jinja, which most builds have no use for

        texts = rendering.rendered(job.step, self.store.tree(job.supply.layer), job.where)
        lookup, trees = seen(self.store, base), [self.tree(one) for one in base.layers]
        read = rendering.reader([Path("/"), *trees] if base.is_host else trees, lookup)
        return rendering.entries(job.step, texts, lookup, read, job.where)

    @contextmanager
    def _sandbox(self, base: Base, job: Job, folder: Path) -> Iterator[Sandbox]:
        secrets = {name: self._lent(name, job) for name in job.step.secrets}
        absence.needles(secrets, job.where)  # a value that can't be looked for is refused before anything is run
        yield Sandboxes(self.home, self.store, self.tree).made(base, job, folder, secrets)

    def _apply(self, sandbox: Sandbox, job: Job, say: Say) -> None:
        mask = partial(absence.masked, secrets=sandbox.secrets) if sandbox.secrets else None
        # Not as arguments: an address of the user's may hold a password, and everybody sees arguments.
        with files_of(sandbox.secrets) as files, Inside() as inside:
            threading.Thread(target=self.meanwhile, name="meanwhile").start()
            argv = sandbox.argv(files, status=inside.status)
            ended = streamed(argv, sandbox.passed, say, passing=(*files.values(), inside.status), mask=mask)
            inside.wait()
        if ended.code == 0:
            return
        error = EngineError(
            f"the step ended with exit code {ended.code}: {job.step.title}",
            where=job.where,
            hint="see its last lines; the steps before it are kept, so the next build begins here"
            + ("" if self.is_debugging else "; `anew build --debug` opens a shell where it failed"),
            facts={"command": _command(job, sandbox), "exit": str(ended.code), "output": ended.output},
        )
        if self.is_debugging:
            say(f"{error.what}; a shell where it failed:")
            console.opened(sandbox, job, say)
        raise error

    def _check_shell(self, base: Base, job: Job) -> None:
        lookup, where, kind = seen(self.store, base), job.where, job.step.kind
        if lookup(resolved("bin/sh", lookup, where)) is None:
            raise SpecError(
                f"there is no /bin/sh in the image, and `{kind}` needs it",
                where=where,
                hint="choose a head that has a shell, or copy what you need instead of running something",
            )


def _scanned(upper: Path, job: Job) -> tuple[Entry, ...]:
    try:
        return scanned(upper)
    except SpecError as error:
        raise SpecError(error.what, where=job.where, hint=error.hint) from error


def _command(job: Job, sandbox: Sandbox) -> str:
    return shlex.join((*SHELL, job.step.run) if job.step.kind == "run" else sandbox.command[1:])


def is_known(store: ImageStore, base: Base, jobs: Sequence[Job]) -> bool:
    """Say whether every one of `jobs` on top of `base` has its checkpoint, so that nothing needs to be run."""
    for job in jobs:
        base = next_base(base, job)
        if store.checkpoint(base.key) is None:
            return False
    return True
