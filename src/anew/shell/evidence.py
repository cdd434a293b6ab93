"""Evidence for the verdict: windows of requests and failures, made from the edge's exact counters.

The counters are cumulative; their values at the entry of a stage are committed with it, so evidence survives the
keeper: what came while nobody looked is in the first window of the next keeper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anew.model import Counts, Rollout, Sample, Seconds

WINDOW: Seconds = 0.5  # windows are at least this long
MOST = 600  # windows that are kept of one stage; older ones are added up
RECENT: Seconds = 10.0  # what the breaker looks at


@dataclass(slots=True)
class Evidence:
    """Turns readings of cumulative counters into windows, the same for all groups."""

    stage: tuple[int, int] = (0, 0)  # rollout and version to which `windows` belong
    last: dict[str, Counts] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)  # failures whose requests lie in an earlier window
    windows: list[dict[str, Sample]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    recent: list[tuple[float, dict[str, Sample]]] = field(default_factory=list)

    def take(self, now: float, rollout: Rollout | None, counts: Mapping[str, Counts]) -> None:
        """Add one reading of the counters."""
        stage = (rollout.id, rollout.version) if rollout else (0, 0)
        is_first = not self.times and not self.last  # then a window holds more than the last seconds
        is_new = stage != self.stage
        if is_new:
            self.stage, self.windows, self.times = stage, [], []
            if rollout and rollout.counts:
                self.last |= {g: Counts(requests, failures) for g, requests, failures in rollout.counts}
        window = {name: self._since(name, one) for name, one in counts.items()}
        self.last = dict(counts)
        if self.times and now - self.times[-1] < WINDOW:
            self.windows[-1] = _merged(self.windows[-1], window)  # a short stage must not lose what came in its end
        else:
            self.windows.append(window)
            self.times.append(now)
        if len(self.windows) > MOST:
            self.windows[:2] = [_merged(self.windows[0], self.windows[1])]
            self.times[:2] = [self.times[1]]
        lately = [] if is_first else [(now, window)]
        self.recent = [(at, w) for at, w in self.recent if now - at < RECENT] + lately

    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """Return the windows of each group since the stage was entered, oldest first, equal lengths."""
        names = {name for window in self.windows for name in window}
        return {n: tuple(w.get(n, Sample(0, 0)) for w in self.windows) for n in names}

    def lately(self) -> dict[str, Sample]:
        """Return what each group answered in the last seconds."""
        out: dict[str, Sample] = {}
        for _, window in self.recent:
            out = _merged(out, window)
        return out

    def _since(self, name: str, now: Counts) -> Sample:
        before = self.last.get(name)
        if before is None or now.requests < before.requests:
            before = Counts()  # the edge was started anew, and counts from nothing
        requests = now.requests - before.requests
        failures = max(0, now.failures - before.failures) + self.owed.get(name, 0)
        counted = min(failures, requests)
        self.owed[name] = failures - counted
        return Sample(requests, counted)


def _merged(one: Mapping[str, Sample], other: Mapping[str, Sample]) -> dict[str, Sample]:
    nothing = Sample(0, 0)
    return {
        n: Sample(
            one.get(n, nothing).requests + other.get(n, nothing).requests,
            one.get(n, nothing).failures + other.get(n, nothing).failures,
        )
        for n in {*one, *other}
    }
