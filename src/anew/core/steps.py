"""Every step that `decide` can emit: frozen data that says what it is, and cannot run itself.

`Begin`, `Enter`, `Allot`, `Taint`, `Drain`, `Retire` and `Forget` are commits: they write the journal. The others are
effects on an engine or an edge; each is named and idempotent, so one that is in doubt is simply decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model import Declaration, Phase, Seconds, Weights


@dataclass(frozen=True, slots=True)
class Begin:
    """Commit that a rollout from `old` to `new` begins."""

    kind: Literal["rollout", "rollback"]
    old: int
    new: int
    reason: str
    phase: Literal["prepare", "full"] = "prepare"  # "full": everything it needs is warm

    def describe(self) -> str:
        """Say it in one line."""
        come_from = f" from g{self.old}" if self.old else ""
        return f"begin the {self.kind}{come_from} to g{self.new}"


@dataclass(frozen=True, slots=True)
class Enter:
    """Commit that the rollout enters a phase (and, in `stage`, which one)."""

    rollout: int
    version: int  # compare-and-set
    phase: Phase
    stage: int
    reason: str

    def describe(self) -> str:
        """Say it in one line."""
        where = f"stage {self.stage + 1}" if self.phase == "stage" else self.phase
        return f"enter {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Allot:
    """Commit an ordinal (and a port) for one more instance of a group, before it is launched."""

    group: str
    ordinal: int
    task: str = ""  # the key of the task that it shall run to its end
    due: float = 0.0  # the time for which the task was scheduled

    def describe(self) -> str:
        """Say it in one line."""
        return f"allot instance {self.ordinal} of {self.group}" + (f", to run {self.task}" if self.task else "")


@dataclass(frozen=True, slots=True)
class Launch:
    """Start an instance that has been allotted."""

    name: str
    group: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"launch {self.name}"


@dataclass(frozen=True, slots=True)
class Test:
    """Run the preview tests of a generation against its groups, out of the way of the loop."""

    generation: int

    def describe(self) -> str:
        """Say it in one line."""
        return f"test g{self.generation} at its preview"


@dataclass(frozen=True, slots=True)
class Declare:
    """Make the edge run and know exactly these routes and groups."""

    declaration: Declaration

    def describe(self) -> str:
        """Say it in one line."""
        groups = ", ".join(f"{g.name} ({len(g.targets)})" for g in self.declaration.groups) or "nothing"
        return f"declare to the edge: {groups}"


@dataclass(frozen=True, slots=True)
class Shift:
    """Set the weights of all services at once."""

    weights: Weights = field(hash=False)

    def describe(self) -> str:
        """Say it in one line."""
        return "shift " + (", ".join(_share(s, w) for s, w in sorted(self.weights.items())) or "all traffic away")


def _share(service: str, weights: Mapping[str, int]) -> str:
    shares = " + ".join(f"{g} {w / 10:g} %" for g, w in sorted(weights.items()) if w)
    return f"{service}: {shares or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Taint:
    """Commit that something touched an instance, and what: it is replaced, never repaired."""

    name: str
    evidence: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.name} is tainted: {self.evidence}"


@dataclass(frozen=True, slots=True)
class Drain:
    """Commit that an instance gets no new requests from now on; its bound starts here."""

    name: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"drain {self.name}"


@dataclass(frozen=True, slots=True)
class Stop:
    """End an instance that is drained."""

    name: str
    grace: Seconds

    def describe(self) -> str:
        """Say it in one line."""
        return f"stop {self.name}"


@dataclass(frozen=True, slots=True)
class Retire:
    """Commit that an instance has ended, why, and forget it at its engine; its ordinal is never used again."""

    name: str
    outcome: str  # "stopped", or how it died
    is_death: bool

    def describe(self) -> str:
        """Say it in one line."""
        return f"dispose of {self.name} ({self.outcome})"


@dataclass(frozen=True, slots=True)
class Forget:
    """Commit that a group is disposed of: it has no instances and nothing maps to it."""

    group: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"dispose of group {self.group}"


@dataclass(frozen=True, slots=True)
class Keep:
    """Commit that generations are no longer kept as a way back."""

    retired: tuple[int, ...]

    def describe(self) -> str:
        """Say it in one line."""
        return "no longer keep " + ", ".join(f"g{n}" for n in self.retired)


@dataclass(frozen=True, slots=True)
class Sweep:
    """End and forget an instance that the engine reports and the journal has no allotment for."""

    name: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"sweep away {self.name}, which nothing knows of"


Step = Begin | Enter | Allot | Launch | Test | Declare | Shift | Taint | Drain | Stop | Retire | Forget | Keep | Sweep


@dataclass(frozen=True, slots=True)
class Decision:
    """The next steps; if there are none, when to look again (None: nothing to wait for), and why in one sentence."""

    steps: tuple[Step, ...] = ()
    wait_until: float | None = None
    reason: str = ""
