"""The edge of a simulated platform: weights, pins and counters in memory, as slow and as forgetful as a real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from anew.errors import Bug, Conflict, EngineError, NotFound
from anew.model import Declaration, Rollout, Sample, Seconds, Weights

RECENT: Seconds = 10.0


@dataclass(slots=True)
class Edge:
    """Balances the load; what was asked for may come late, in the order in which it was asked."""

    is_up: bool = False
    declaration: Declaration | None = None
    weights: dict[str, dict[str, int]] = field(default_factory=dict)
    late: list[tuple[float, Weights | Declaration]] = field(default_factory=list)

    def declare(self, declaration: Declaration) -> None:
        """Know exactly `declaration`; weights of groups that are forgotten go with them.

        Raises  NotFound for a pin to an undeclared group; Bug for two listeners of one name or port.
        """
        self.land(float("inf"))
        self._declare(declaration)

    def _declare(self, declaration: Declaration) -> None:
        listeners = declaration.listeners
        ports = [one.port for one in listeners if one.port]  # a preview, from which a world may come, chooses none
        if len({one.name for one in listeners}) < len(listeners) or len(set(ports)) < len(ports):
            raise Bug(f"listeners have names or ports in common: {listeners}")
        undeclared = {one.group for one in listeners} - {g.name for g in declaration.groups} - {""}
        if undeclared:
            raise NotFound(f"{', '.join(sorted(undeclared))} is not declared")
        self.is_up, self.declaration = bool(declaration.groups), declaration if declaration.groups else None
        known = {g.name for g in declaration.groups}
        self.weights = {s: {g: w for g, w in ws.items() if g in known} for s, ws in self.weights.items()}
        if not self.is_up:
            self.weights, self.late = {}, []

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services.

        Raises  EngineError if the edge does not run; Conflict for an undeclared group; Bug for a sum that is none.
        """
        self.land(float("inf"))
        self._shift(weights)

    def _shift(self, weights: Weights) -> None:
        if not self.is_up or self.declaration is None:
            raise EngineError("the edge does not answer", facts={"command": "show map"})
        known = {g.name for g in self.declaration.groups}
        for service, groups in weights.items():
            if sum(groups.values()) not in {0, 1000}:
                raise Bug(f"the weights of {service} sum to {sum(groups.values())}")
            if not {g for g, w in groups.items() if w} <= known:
                raise Conflict(f"{service} has a group that is not declared")
        self.weights = {s: dict(groups) for s, groups in weights.items()}

    def land(self, now: float) -> None:
        """Apply what was asked for earlier and is due."""
        due = [one for at, one in self.late if at <= now]
        self.late = [(at, one) for at, one in self.late if at > now]
        for one in due:
            if isinstance(one, Declaration):
                self._declare(one)
                continue
            with suppress(Conflict, EngineError):  # what it was asked for is no longer there
                self._shift(one)

    def fail(self) -> None:
        """Die with all workers."""
        self.is_up, self.declaration, self.weights, self.late = False, None, {}, []


@dataclass(slots=True)
class Evidence:
    """Windows of requests in all stages of a rollout, and of the last seconds."""

    rollout: int = 0
    windows: list[Mapping[str, Sample]] = field(default_factory=list)
    recent: list[tuple[float, Mapping[str, Sample]]] = field(default_factory=list)

    def add(
        self, now: float, rollout: Rollout | None, window: Mapping[str, Sample], *, is_compared: bool = False
    ) -> None:
        """Add one window; a new rollout begins with none."""
        if (rollout.id if rollout else 0) != self.rollout:
            self.rollout, self.windows = rollout.id if rollout else 0, []
        elif rollout and (rollout.phase == "stage" or is_compared):
            self.windows.append(window)
        self.recent = [(at, w) for at, w in self.recent if now - at < RECENT] + [(now, window)]

    def samples(self, groups: Iterable[str], rollout: Rollout | None) -> dict[str, tuple[Sample, ...]]:
        """Return the windows of each group since the first stage was entered, oldest first."""
        if self.rollout != (rollout.id if rollout else 0):
            return {}
        return {g: tuple(w.get(g, Sample(0, 0)) for w in self.windows) for g in groups}

    def lately(self, groups: Iterable[str]) -> dict[str, Sample]:
        """Return what each group answered in the last seconds."""
        return {
            g: Sample(
                sum(w[g].requests for _, w in self.recent if g in w),
                sum(w[g].failures for _, w in self.recent if g in w),
            )
            for g in groups
        }
