"""What a bill of materials is about: a distribution, and packages that are in an image."""

from __future__ import annotations

from dataclasses import dataclass

from anew.model import Digest


@dataclass(frozen=True, slots=True)
class Distribution:
    """Which distribution an image is made of, as its os-release says; "" where it does not."""

    id: str
    version: str


@dataclass(frozen=True, slots=True, order=True)
class Installed:
    """A package in an image; `kind` is the type of its package URL."""

    kind: str  # deb, pypi or npm
    name: str
    version: str
    architecture: str = ""
    path: str = ""  # of the file that tells of it, if it is not the distribution's
    digest: Digest = ""  # of the package's file, if it is known
    supplier: str = ""
    license: str = ""
