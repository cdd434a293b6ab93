"""Evidence for the verdict: windows of requests and failures, made from the edge's exact counters.

The counters are cumulative. Their values at the entry of a stage, and the windows until then, are committed with it, so
evidence is that of the whole rollout and survives the keeper: what came while nobody looked is in the first window of
the next keeper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anew.model import Counts, Rollout, Sample, Seconds, Window

WINDOW: Seconds = 0.5  # windows are at least this long
MOST = 60  # windows of a stage; when there are more, each is joined with the next one
RECENT: Seconds = 10.0  # what the breaker looks at


@dataclass(slots=True)
class Evidence:
    """Turns readings of cumulative counters into windows, the same for all groups."""

    stage: tuple[int, float] = (0, 0.0)  # the rollout, and when it entered the phase or stage it is in
    last: dict[str, Counts] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)  # failures whose requests lie in an earlier window
    windows: list[Window] = field(default_factory=list)
    recent: list[tuple[float, dict[str, Sample]]] = field(default_factory=list)

    def take(self, now: float, rollout: Rollout | None, counts: Mapping[str, Counts]) -> None:
        """Add one reading of the counters."""
        stage = (rollout.id, rollout.since) if rollout else (0, 0.0)
        is_first = not self.last  # then a window holds more than the last seconds
        if stage != self.stage:
            self.stage, self.windows = stage, list(rollout.windows) if rollout else []
            if rollout and rollout.counts:
                self.last |= {g: Counts(requests, failures) for g, requests, failures in rollout.counts}
        did = {name: self._since(name, one) for name, one in counts.items()}
        self.last = dict(counts)
        if rollout is not None and rollout.phase == "stage":
            self._add(Window(now, rollout.stage, {n: s for n, s in did.items() if s.requests}), rollout.since)
        lately = [] if is_first else [(now, did)]
        self.recent = [(at, w) for at, w in self.recent if now - at < RECENT] + lately

    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """Return the windows of each group since the first stage was entered, oldest first, equal lengths."""
        return samples(self.windows)

    def lately(self) -> dict[str, Sample]:
        """Return what each group answered in the last seconds."""
        out: dict[str, Sample] = {}
        for _, window in self.recent:
            out = _merged(out, window)
        return out

    def _add(self, window: Window, since: float) -> None:
        """Add a window, or what it has to the last one if that is of this stage and shorter than it should be."""
        before = self.windows[-1] if self.windows else None
        begun = max([since, *(w.at for w in self.windows[-2:-1])])
        if before is not None and before.stage == window.stage and before.at - begun < WINDOW:
            self.windows[-1] = _joined(before, window)
        else:
            self.windows.append(window)
        mine = [one for one in self.windows if one.stage == window.stage]
        if len(mine) > MOST:  # those of a stage that was left stay as they were: by them it was decided
            self.windows[-len(mine) :] = _coarser(mine)

    def _since(self, name: str, now: Counts) -> Sample:
        before = self.last.get(name)
        if before is None or now.requests < before.requests:
            before = Counts()  # the edge was started anew, and counts from nothing
        requests = now.requests - before.requests
        failures = max(0, now.failures - before.failures) + self.owed.get(name, 0)
        counted = min(failures, requests)
        self.owed[name] = failures - counted
        return Sample(requests, counted)


def samples(windows: Sequence[Window]) -> dict[str, tuple[Sample, ...]]:
    """Return what each group did in each window, equal lengths."""
    names = {name for window in windows for name in window.samples}
    return {n: tuple(w.samples.get(n, Sample(0, 0)) for w in windows) for n in names}


def _coarser(windows: list[Window]) -> list[Window]:
    """Join each window with the next one."""
    joined = [_joined(one, after) for one, after in zip(windows[::2], windows[1::2], strict=False)]
    return joined + windows[2 * len(joined) :]


def _joined(one: Window, after: Window) -> Window:
    return Window(after.at, after.stage, _merged(one.samples, after.samples))


def _merged(one: Mapping[str, Sample], other: Mapping[str, Sample]) -> dict[str, Sample]:
    nothing = Sample(0, 0)
    return {
        n: Sample(
            one.get(n, nothing).requests + other.get(n, nothing).requests,
            one.get(n, nothing).failures + other.get(n, nothing).failures,
        )
        for n in {*one, *other}
    }
