"""A small project with its own image store, and releases of it."""

from __future__ import annotations

from pathlib import Path

from anew.build.builder import Builder
from anew.build.carriage import Carriage
from anew.build.carried import identity_of
from anew.build.evidence import Evidence
from anew.build.store import ImageStore
from anew.core.digest import digest_bytes
from anew.core.reference import Reference, Repository
from anew.model import BuildStep, Copy, Head, Image, Part, Release, Service, Spec, TarHead
from anew.testing.roots import write_root
from anew.views import Carried, Rebuilt


def quiet(_line: str) -> None:
    """Take a line of progress."""


class Place:
    """A state folder and a project folder on one machine."""

    def __init__(self, folder: Path, head: Head | None = None) -> None:
        self.home, self.root = folder / "home", folder / "project"
        self.root.mkdir(parents=True)
        self.home.mkdir()
        self.store = ImageStore(self.home / "images")
        self.evidence = Evidence(self.store)
        self.head = head or TarHead("base", "head.tar")
        self.lines: list[str] = []

    @property
    def builder(self) -> Builder:
        return Builder(self.home, self.store, self.root)

    @property
    def carriage(self) -> Carriage:
        return Carriage(self.store, self.home / "registry")

    def service(self, name: str = "web", *steps: str, copy: tuple[Copy, ...] = ()) -> Service:
        return Service(name, "base", ("/bin/sh",), copy=copy, build=tuple(BuildStep(step) for step in steps))

    def release(self, *services: Service) -> Release:
        """Build services, or one, and make a release of them."""
        if isinstance(self.head, TarHead) and not (self.root / "head.tar").exists():
            write_root(self.root / "head.tar")
        spec = Spec("shop", (self.head,), (), ())
        wanted = services or (self.service("web", "echo one > /srv/a"),)
        parts = tuple(Part(one, self.builder.build(spec, one, quiet)[0]) for one in wanted)
        return Release("shop", "r1", digest_bytes(identity_of("shop", parts)), parts, 1.0)

    def push(self, release: Release, to: Repository, *, with_inputs: bool = False) -> Carried:
        identity = identity_of(release.project, release.parts)
        return self.carriage.push(release, identity, to, self.lines.append, with_inputs=with_inputs)

    def pull(self, asked: Reference, expected: str = "", *, with_inputs: bool = False) -> tuple[Release, Carried]:
        say = self.lines.append
        return self.carriage.pull(asked, say, project="shop", expected=expected, with_inputs=with_inputs)

    def proved(self, image: Image) -> Rebuilt:
        """Make an image of `web` again without a network."""
        with self.builder.proving(is_offline=True) as prove:
            return prove("web", image, quiet)

    def is_whole(self, image: Image) -> bool:
        parts = (image.digest, image.identity.config, *image.layers)
        return self.store.blobs.are_whole(parts) and image.digest in self.store.blobs.images()
