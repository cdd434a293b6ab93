"""Releases and the verdicts of the image gate: what is known of images, free of any environment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core.names import RELEASE
from anew.errors import NotFound
from anew.model import Release
from anew.shell.database import encode

if TYPE_CHECKING:
    from anew.model import Digest
    from anew.ports import Clock
    from anew.shell.database import Database
    from anew.views import Tested


class Releases:
    """The releases of all projects of this state."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, release: Release) -> Release:
        """Return `release` with its name: the one it has if its digest is known, else the next that was never used.

        Its `name` and `at` are filled in here, whatever they were.
        """
        project = release.project
        with self._database.writing():
            known = self._database.row("release_by_digest", project=project, digest=release.digest)
            if known is not None:
                return self._database.decode(known["body"], Release)
            self._database.change("add_project", project=project)
            last = self._database.row("last_release", project=project)
            number = (last["last_release"] if last else 0) + 1
            named = replace(release, name=f"r{number}", at=self._clock.now())
            body = encode(named)
            self._database.change("add_release", project=project, number=number, digest=release.digest, body=body)
            self._database.change("set_last_release", project=project, number=number)
        return named

    def known(self, project: str, digest: Digest) -> Release | None:
        """Return the release of this digest; None if there is none."""
        row = self._database.row("release_by_digest", project=project, digest=digest)
        return None if row is None else self._database.decode(row["body"], Release)

    def named(self, project: str, name: str) -> Release:
        """Return the release that people call `name`; NotFound with the nearest names if there is none."""
        match = RELEASE.match(name)
        with self._database.reading():
            number = int(match[1]) if match and len(name) < 18 else 0  # SQLite counts to 2 ** 63
            row = self._database.row("release_by_number", project=project, number=number)
            if row is not None:
                return self._database.decode(row["body"], Release)
            known = [f"r{one['number']}" for one in self._database.rows("release_numbers", project=project)]
        import difflib  # noqa: PLC0415 - only a wrong name needs it

        near = difflib.get_close_matches(name, known, 3, 0.0)
        hint = f"there are {', '.join(near)}" if near else "anew up makes the first release"
        raise NotFound(f"{project} has no release {name}", where=name, hint=hint)

    def all(self, project: str) -> tuple[Release, ...]:
        """Return the releases of a project, newest first."""
        rows = self._database.rows("releases", project=project)
        return tuple(self._database.decode(row["body"], Release) for row in rows)

    def misfiled(self, project: str) -> tuple[str, ...]:
        """Return the names of releases that are recorded under another number or digest than their own."""
        rows = self._database.rows("releases_as_they_are", project=project)
        found = ((self._database.decode(row["body"], Release), row["number"], row["digest"]) for row in rows)
        return tuple(one.name for one, number, digest in found if (one.name, one.digest) != (f"r{number}", digest))

    def newest(self) -> tuple[Release, ...]:
        """Return the newest release of each project, sorted by project."""
        return tuple(self._database.decode(row["body"], Release) for row in self._database.rows("newest_releases"))

    def verdict(self, key: str) -> Tested | None:
        """Return what the image gate found under `key` (images, tests and flags); None if it was never asked."""
        row = self._database.row("verdict", key=key)
        if row is None:
            return None
        from anew.views import Tested  # noqa: PLC0415 - most commands read none

        return self._database.decode(row["body"], Tested)

    def save_verdict(self, key: str, tested: Tested) -> None:
        """Remember a verdict of the image gate; the last one counts."""
        with self._database.writing():
            self._database.change("save_verdict", key=key, body=encode(tested))

    def forget_verdicts(self, images: Collection[Digest], *, is_dry: bool) -> int:
        """Forget the verdicts of all images but these; return how many. With `is_dry` only count them."""
        with self._database.reading() if is_dry else self._database.writing():
            gone = [row["key"] for row in self._database.rows("verdicts") if row["manifest"] not in images]
            if not is_dry:
                for key in gone:
                    self._database.change("forget_verdict", key=key)
        return len(gone)
