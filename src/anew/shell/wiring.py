"""More of the composition root: what `__main__` has no room for. Like it, it knows concrete classes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from anew.build.carriage import Carriage
    from anew.build.sources import SourceTree
    from anew.build.store import ImageStore
    from anew.core.steps import Step
    from anew.engines.embedded.revealed import Reveal
    from anew.engines.embedded.workbench import Workbench
    from anew.model import Image, Scope, Service, Trial
    from anew.model.comparison import ImageComparison
    from anew.ports import Compute, Say
    from anew.shell.journal import Journal
    from anew.shell.parts import Archive, Notary, Stockroom, Witness


def compare_images(store: ImageStore, before: Image, after: Image) -> ImageComparison:
    """Return what differs between two images of a store."""
    from anew.build.comparison import compared

    return compared(store, before, after)


def company(
    compute: Compute, scope: Scope, trial: Trial, serial: str, port: Callable[[], int], say: Say
) -> AbstractContextManager[Mapping[str, int]]:
    """Let the services that another one needs run."""
    from anew.build.gate_rehearsal import Place, standing

    return standing(compute, trial, Place(scope, serial, port), say)


def source_tree(store: ImageStore, project: Path, service: Service) -> SourceTree:
    """Return the sources of a service."""
    from anew.build.sources import SourceTree

    return SourceTree(project, service, store)


def workbench(home: Path, store: ImageStore, owner: str, reveal: Reveal) -> Workbench:
    """Return the workbench of a state folder: what it makes there goes with this process, as what builds make does."""
    from contextlib import contextmanager

    from anew.build.drafts import scratch, sweep
    from anew.engines.embedded.workbench import Workbench

    @contextmanager
    def folder() -> Iterator[Path]:
        sweep(home / "work")
        with scratch(home / "work") as made:
            yield made

    return Workbench(home, store.tree, owner, reveal, folder)


def carriage(home: Path, store: ImageStore) -> Carriage:
    """Return what brings releases to registries and from there."""
    from anew.build.carriage import Carriage

    return Carriage(store, home / "registry")


def faults() -> Callable[[str, Step], None]:
    """Return what to do around each step: nothing, unless a test asks for faults."""
    asked = os.environ.get("ANEW_FAULT")
    if not asked:
        return lambda _moment, _step: None
    from anew.testing.faults import around

    return around(asked)


def notary(folder: Path, store: ImageStore, project: str) -> Notary:
    """Return who signs and looks for a project."""
    from anew.build.notary import Notary

    return Notary(store, folder / "keys", project)


def witness(folder: Path, scope: Scope) -> Witness:
    """Return who signs how far a ledger has come."""
    from anew.trust.witness import Witness

    return Witness(scope, folder / "ledger-heads", folder / "keys")


def stockroom(folder: Path, store: ImageStore) -> Stockroom:
    """Return the image store, for collections."""
    from anew.build.stockroom import Stockroom

    return Stockroom(store, (folder / "work", folder / "work-rootless"))


def archive(folder: Path, journal: Journal) -> Archive:
    """Return what instances leave on the embedded engine."""
    from anew.engines.embedded.archive import Archive

    return Archive(folder / "instances", journal.owner)


def wrong_with_lock(project: Path) -> str | None:
    """Return what is wrong with a project's lock; "" if nothing is, None if there is no lock."""
    from anew.build import lock
    from anew.errors import SpecError

    try:
        lock.read(project)
    except SpecError as error:
        return error.what
    return "" if (project / lock.NAME).exists() else None


def is_free(port: int) -> bool:
    """Say whether nothing listens on a port of this machine."""
    from anew.engines.embedded import ports

    return ports.is_free(port)
