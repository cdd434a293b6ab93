"""What an operating-system head looks like in a spec, and what all shapes have in common."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from anew.core.spec import fields as f
from anew.core.spec.wrong import wrong


class Shape(BaseModel):
    """A mapping with known keys and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class HeadShape(Shape):
    """An operating-system head: exactly one of `debian`, `ubuntu`, `tar`, `image`, `dockerfile` and `host`."""

    debian: f.Maybe[f.Suite] = None
    """A Debian suite, such as `bookworm`; resolved once and then pinned in `anew.lock`."""
    ubuntu: f.Maybe[f.Suite] = None
    """An Ubuntu suite, such as `jammy`; the same with the packages of another distribution."""
    packages: f.Maybe[list[f.Package]] = None
    """Packages of that suite, beside the smallest system."""
    mirror: f.Maybe[list[f.Source]] = None
    """Where they come from, as apt's sources have it: `URL SUITE COMPONENT…`; else where apt of this machine says."""
    keyring: f.Maybe[f.RelativePath] = None
    """The keys by which the mirror is signed, a file of the project; else those that this machine trusts."""
    tar: f.Maybe[f.RelativePath] = None
    """A tar archive of a root file system, relative to the project."""
    image: f.Maybe[f.ImageReference] = None
    """An image in a registry, by tag or digest, with the host; resolved once and then pinned in `anew.lock`."""
    recipe: Annotated[f.Maybe[f.RelativePath], Field(alias="dockerfile")] = None
    """A Dockerfile, relative to the project, built by the container engine at hand; as reproducible as that is."""
    context: f.Maybe[f.RelativePath] = None
    """The folder that the Dockerfile takes files from; if left out, the one that it lies in."""
    host: f.Maybe[f.Yes] = None
    """The machine's own root, read-only; for the environment `local` only."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        written = {"dockerfile": self.recipe}
        kinds = [
            k
            for k in ("debian", "ubuntu", "tar", "image", "dockerfile", "host")
            if (written[k] if k in written else getattr(self, k)) is not None
        ]
        if len(kinds) != 1:
            what = f"a head is of one kind, and this has {' and '.join(kinds) or 'none'}"
            ways = "`debian: bookworm`, `ubuntu: jammy`, `tar: rootfs.tar`, `image: HOST/NAME:TAG`, `host: true`"
            raise wrong(what, f"write one of {ways}")
        for key in ("packages", "mirror", "keyring"):
            if getattr(self, key) is not None and kinds[0] not in {"debian", "ubuntu"}:
                what = f"`{key}` belongs to a head of packages"
                raise wrong(what, f"remove `{key}`, or write `debian: bookworm` or `ubuntu: jammy`")
        if self.context is not None and kinds != ["dockerfile"]:
            raise wrong("`context` belongs to a Dockerfile", "remove `context`, or write `dockerfile: Dockerfile`")
        if self.keyring is not None and not self.mirror:
            raise wrong("a `keyring` is that of a `mirror`", "write `mirror: [URL SUITE main]`, or remove it")
        suite = self.debian or self.ubuntu
        for line in self.mirror or ():
            if not re.match(rf"{suite}(?:[-/]|$)", line.split()[1]):
                raise wrong(f"`{line}` is a source of another suite than {suite}", f"write `URL {suite} main`")
        if self.mirror is not None and all(line.split()[1] != suite for line in self.mirror):
            raise wrong(f"the mirror has no source of {suite} itself", f"write `mirror: [URL {suite} main]`")
        return self
