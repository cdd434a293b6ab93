"""What is remembered of an edge while nobody runs: its declaration, its slots, its weights and its pins, in files.

Weights, pins and thresholds are the map files themselves: whenever HAProxy starts or reloads, it reads what was last
wanted. They are not forced to the disk, which may take as long as all the rest of a shift: after a power failure the
edge is down, and whoever declares it again sets its weights too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anew.edge import buckets, live
from anew.edge.buckets import Buckets
from anew.edge.files import write, write_if_other
from anew.edge.judged import TIMES, times_map
from anew.edge.render import services
from anew.edge.section import SWITCH, SWITCH_TEXT, map_name
from anew.edge.slots import Slots
from anew.errors import EngineError
from anew.model import Declaration

FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """The declaration that served last, which slot each target had, and the digest of its structure."""

    declaration: Declaration
    slots: Mapping[str, Slots]
    structure: str
    format: int = FORMAT


class Saved:
    """The files of one edge, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config = folder / "haproxy.cfg"
        self.draft = folder / "haproxy.draft.cfg"
        self._state = folder / "edge.json"

    def state(self) -> State | None:
        """Return what was saved; None if nothing was.

        Raises  EngineError if it can't be read.
        """
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as cause:
            raise EngineError(
                "the edge's state can't be read",
                where=str(self._state),
                hint="remove the file: the edge is declared anew, and keeps its weights",
            ) from cause

    def keep(self, state: State) -> None:
        """Save what serves now."""
        write(self._state, msgspec.json.encode(state).decode(), is_durable=True)

    def forget(self) -> None:
        """Forget everything but HAProxy's log: the edge was stopped on purpose."""
        half_written = self._folder.glob("*.new")  # by somebody who was killed
        for path in (self._state, self.config, self.draft, *self._folder.glob("*.map"), *half_written):
            path.unlink(missing_ok=True)

    def buckets(self, service: str) -> Buckets:
        """Return the buckets that were last wanted of a service."""
        path = self._folder / map_name(service)
        if not path.exists():
            return buckets.EMPTY
        return buckets.parsed(line.split() for line in path.read_text(encoding="utf-8").splitlines())

    def keep_buckets(self, service: str, ones: Buckets) -> None:
        """Save the buckets of a service, before any worker is told."""
        write_if_other(self._folder / map_name(service), buckets.text(ones))

    def keep_maps(self, declaration: Declaration) -> None:
        """Save what of a declaration is changed live, before any worker is told."""
        for name, entries in live.maps(declaration).items():
            write_if_other(self._folder / name, live.text(entries))

    def add_maps(self, declaration: Declaration) -> None:
        """Make the maps that a configuration names, where they are not there; HAProxy refuses it otherwise."""
        write_if_other(self._folder / SWITCH, SWITCH_TEXT)
        write_if_other(self._folder / TIMES, times_map())
        for name in (*live.NAMES, *map(map_name, services(declaration))):
            path = self._folder / name
            if not path.exists():
                write(path, "")

    def drop_groups(self, declaration: Declaration) -> None:
        """Take the buckets of groups that are no longer declared from them, and forget services that are gone."""
        kept = {SWITCH, TIMES, *live.NAMES, *(map_name(service) for service in services(declaration))}
        for path in self._folder.glob("*.map"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        for service in services(declaration):
            known = {group.name for group in declaration.groups if group.service == service}
            self.keep_buckets(service, buckets.without(self.buckets(service), known))
