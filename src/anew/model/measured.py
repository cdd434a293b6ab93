"""What is counted of a service besides its requests at the edge: the outcomes of its work, probes, and more."""

from __future__ import annotations

from dataclasses import dataclass

from anew.model.units import Seconds

OUTCOMES = "/run/outcomes"  # the folder of an instance for its counts


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Where an instance says how its work ended: counts since it began, as Prometheus writes them.

    A worker writes them to a file, or answers with them as a service that speaks HTTP does.
    """

    file: str = ""  # its name in the folder `OUTCOMES`
    good: str = "outcomes_good_total"  # the names of both counts
    bad: str = "outcomes_bad_total"
    metrics: str = ""  # the path to ask for

    @property
    def path(self) -> str:
        """Where the instance writes them; "" if it is asked."""
        return f"{OUTCOMES}/{self.file}" if self.file else ""

    @property
    def flags(self) -> tuple[tuple[str, str], ...]:
        """What the instance is told of it."""
        return (("OUTCOMES", self.path),) if self.file else ()

    @property
    def writable(self) -> tuple[str, ...]:
        """The folders that it needs to be able to write to."""
        return (OUTCOMES,) if self.file else ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that the keeper itself sends to both groups of a service in a stage, again and again."""

    get: str  # the path
    every: Seconds = 1.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """Something besides requests by which a service is judged: cumulative counts of good and bad, of each group.

    They are asked for at `http`, or at a Prometheus with two queries; in each, `$group` and the like stand for names.
    """

    name: str
    http: str = ""
    prometheus: str = ""
    good: str = ""
    bad: str = ""
    tolerated: float | None = None  # None: as the judge of the service has it
    unacceptable: float | None = None
    acceptable: float | None = None
