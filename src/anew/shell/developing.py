"""The use cases of somebody who works on the project: comparing releases, and running a service from its sources."""

from __future__ import annotations

from anew.model import Scope
from anew.model.comparison import Comparison
from anew.shell.building import Building


class Developing(Building):
    """Implements `anew.cases.Developer` for one project on this machine."""

    def compare(self, environment: str, before: str, after: str) -> Comparison:
        """Return what differs between two releases or generations."""
        from anew.shell.comparing import compared

        scope = Scope(self._parts.project(self._root), environment, self._journal.owner)
        return compared(self._journal, scope, before, after, self._parts.compare_images)
