"""What steps of `build` are given besides the image: files of the project, and the programs that apply playbooks.

Rules: a step sees of the project what it names and nothing else, so its key covers all that it can read. A program
that applies playbooks or manifests is a *tool head*: made of Debian packages of the image's own suite, locked and kept
like every head, and never part of an image (`docs/decisions`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from anew.build.context import Context, collected, layer_entries
from anew.build.definition import Job, Supply, jobs_of, of_head
from anew.build.filecache import FileDigests
from anew.build.heads import Heads, named
from anew.build.listing import lookup_in
from anew.build.store import ImageStore
from anew.errors import SpecError
from anew.model import BuildStep, DebianHead, Head, Service, Spec
from anew.ports import Say

SUITE = "bookworm"  # of tools for heads that are no Debian suite
PACKAGES = MappingProxyType(
    {
        "ansible": ("ansible-core", "python3-apt"),  # with the module that installs packages
        "puppet": (
            "puppet-agent",  # and the kinds of resource that were part of it once
            "puppet-module-puppetlabs-cron-core",
            "puppet-module-puppetlabs-host-core",
            "puppet-module-puppetlabs-mount-core",
            "puppet-module-puppetlabs-sshkeys-core",
            "puppet-module-puppetlabs-stdlib",
        ),
    }
)


def tool(step: BuildStep, head: Head) -> DebianHead | None:
    """Return the head that has the program which applies a step to an image on `head`; None if it needs none."""
    packages = PACKAGES.get(step.kind)
    if packages is None:
        return None
    # The slash keeps its name apart from every name in a spec.
    if isinstance(head, DebianHead):  # where its own packages come from, these do too
        return replace(head, name=f"{head.suite}/{step.kind}", packages=packages)
    return DebianHead(f"{SUITE}/{step.kind}", SUITE, packages)


def with_tools(spec: Spec) -> Spec:
    """Return a spec whose heads include those that its steps need as tools; of one name the first, for they are one."""
    found: dict[str, DebianHead] = {}
    for service in spec.services:
        for step in service.build:
            wanted = tool(step, named(spec.heads, service.os))
            if wanted is not None:
                found.setdefault(wanted.name, wanted)
    return replace(spec, heads=(*spec.heads, *found.values()))


@dataclass(frozen=True, slots=True)
class Supplies:
    """The steps of one service, and what they read of the project: one context for each."""

    jobs: tuple[Job, ...]
    contexts: tuple[Context, ...]

    @property
    def files(self) -> int:
        """How many files of the project the steps are given."""
        return sum(item.kind == "file" for context in self.contexts for item in context.items)


@dataclass(frozen=True, slots=True)
class Supplier:
    """Gets for the steps of one project what they are given."""

    project: Path
    heads: Heads
    store: ImageStore

    def planned(self, head: Head, service: Service, digests: FileDigests) -> Supplies:
        """Return as much as the keys of the steps depend on; nothing is made, packed or resolved.

        Raises  SpecError for what a step names and the project doesn't have.
        """
        contexts, supplies = [], []
        for number, step in enumerate(service.build):
            where = f"anew.yaml services.{service.name}.build[{number}]"
            context = collected(self.project, sorted(_paths(step)), where, digests)
            _check(step, context, where)
            wanted = tool(step, head)
            pin = (self.heads.locked(wanted) or self.heads.recipe(wanted)) if wanted else ""
            contexts.append(context)
            supplies.append(
                Supply(context.digest if context.items else "", tool=of_head(wanted) if wanted else None, pin=pin)
            )
        return Supplies(jobs_of(service.name, service.build, supplies), tuple(contexts))

    def with_tools(self, supplies: Supplies, head: Head, say: Say, *, update: bool = False) -> Supplies:
        """Return the same with its tools, for an image on `head`, made and locked. Raises as `Heads.layer`."""
        jobs, done = [], set()
        for job in supplies.jobs:
            wanted = tool(job.step, head)
            if wanted is not None:
                layer = self.heads.layer(wanted, say, update=update and wanted.name not in done) or ""
                done.add(wanted.name)
                jobs.append(replace(job, supply=replace(job.supply, tool=self.heads.recorded(wanted), pin=layer)))
            else:
                jobs.append(job)
        return replace(supplies, jobs=tuple(jobs))

    def packed(self, supplies: Supplies) -> tuple[Job, ...]:
        """Return the jobs with the files that they are given in the store."""
        jobs = []
        for job, context in zip(supplies.jobs, supplies.contexts, strict=True):
            layer = ""
            if context.items:
                layer = self.store.add_layer(layer_entries(context.items, lookup_in({}), job.where)).digest
            jobs.append(replace(job, supply=replace(job.supply, layer=layer)))
        return tuple(jobs)


def recorded(jobs: Sequence[Job]) -> tuple[Supply, ...]:
    """Return what a definition records of jobs; () if none of them is given anything."""
    supplies = tuple(job.supply for job in jobs)
    return supplies if any(one != Supply() for one in supplies) else ()


def _paths(step: BuildStep) -> Iterator[str]:
    """Yield what a step is given of the project."""
    yield from step.inputs
    yield from (source for source, _ in step.files)
    main = step.ansible or step.puppet
    if main:
        yield main
        folder = posixpath.dirname(posixpath.normpath(main))
        if folder and not step.inputs:
            yield folder


def _check(step: BuildStep, context: Context, where: str) -> None:
    kinds = {item.target: item.kind for item in context.items}
    for path in (step.ansible, step.puppet, *(source for source, _ in step.files)):
        found = kinds.get(posixpath.normpath(path)) if path else "file"
        if found == "dir":
            raise SpecError(f"{path} is a folder", where=f"{where}.{step.kind}", hint="name a file in it")
