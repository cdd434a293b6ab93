"""Evidence for the verdict: windows of requests and failures, made from the edge's exact counters.

The counters are cumulative. Their values at the entry of a stage, and the windows until then, are committed with it,
and again every few seconds; so evidence is that of the whole rollout and survives the keeper: what came while nobody
looked is in the first window of the next keeper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from anew.core import control
from anew.model import Counts, EdgeReading, Generation, Rollout, Sample, Seconds, Window

WINDOW: Seconds = 0.5  # windows are at least this long
MOST = 60  # windows of a stage; when there are more, each is joined with the next one
RECENT: Seconds = 10.0  # what the breaker looks at
NOTHING = Sample(0, 0)


@dataclass(slots=True)
class Evidence:
    """Turns readings of cumulative counters into windows, the same for all groups."""

    stage: tuple[int, float] = (0, 0.0)  # the rollout, and when it entered the phase or stage it is in
    last: dict[str, Counts] = field(default_factory=dict)
    judged: dict[str, Sample] = field(default_factory=dict)  # the counters of what is judged, when last read
    owed: dict[str, tuple[int, int]] = field(default_factory=dict)  # bad and slow ones whose requests came before
    windows: list[Window] = field(default_factory=list)
    recent: list[tuple[float, dict[str, Sample]]] = field(default_factory=list)

    def take(
        self,
        now: float,
        rollout: Rollout | None,
        counts: Mapping[str, Counts],
        late_stage: int | None = None,
        apart: Collection[str] = (),
    ) -> None:
        """Add one reading of the counters; what it does not tell of is as it was.

        `late_stage` is the number under which that is counted what comes after all stages; None: nothing is compared.
        `apart` are the groups that can't be compared just now (see `anew.core.control`): what they did is left out.
        """
        stage = (rollout.id, rollout.since) if rollout else (0, 0.0)
        known = frozenset(self.last)  # the first window of any other holds more than the last seconds
        if stage != self.stage:
            self.stage, self.windows = stage, list(rollout.windows) if rollout else []
            if rollout and not rollout.counts:  # the edge was down then: what came before is not known
                self.judged = {g: judged(one) for g, one in counts.items()} | self.judged
            elif rollout:
                slow = dict(rollout.slows)
                self.judged |= {g: Sample(trials, bad, slow.get(g, 0)) for g, trials, bad in rollout.counts}
        did = {name: self._since(name, judged(one)) for name, one in counts.items()}
        number = rollout.stage if rollout is not None and rollout.phase == "stage" else late_stage
        if rollout is not None and number is not None:
            seen = {n: s for n, s in did.items() if s.requests and n.partition("/")[0] not in apart}
            self._add(Window(now, number, seen), rollout.since)
        lately = {n: s for n, one in counts.items() if n in known and (s := _grown(self.last[n], one)).requests}
        self.last |= counts
        self.recent = [(at, w) for at, w in self.recent if now - at < RECENT] + ([(now, lately)] if lately else [])

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

    def _since(self, name: str, now: Sample) -> Sample:
        before = self.judged.get(name, NOTHING)
        if now.requests < before.requests:
            before = now  # it counts anew, or lost what was not saved: what it has by now is of no window
        self.judged[name] = now
        bad, slow = self.owed.get(name, (0, 0))
        requests = now.requests - before.requests
        bad += max(0, now.failures - before.failures)
        slow += max(0, now.slow - before.slow)
        found = Sample(requests, min(bad, requests), min(slow, requests))
        self.owed[name] = (bad - found.failures, slow - found.slow)
        return found


def judged(counts: Counts) -> Sample:
    """Return what is judged of a group's counters."""
    if counts.trials < 0:
        return Sample(counts.requests, counts.failures)
    return Sample(counts.trials, counts.bad, counts.slow)


def _grown(before: Counts, now: Counts) -> Sample:
    """Return what was answered between two readings."""
    if now.requests < before.requests:
        before = Counts()
    requests = now.requests - before.requests
    return Sample(requests, min(requests, max(0, now.failures - before.failures)))


def samples(windows: Sequence[Window]) -> dict[str, tuple[Sample, ...]]:
    """Return what each group did in each window, equal lengths."""
    names = {name for window in windows for name in window.samples}
    return {n: tuple(w.samples.get(n, NOTHING) for w in windows) for n in names}


def kept(counts: Mapping[str, Counts]) -> tuple[tuple[tuple[str, int, int], ...], tuple[tuple[str, int], ...]]:
    """Return counters as they are committed with a rollout: its `counts` and its `slows`."""
    counted = {group: judged(one) for group, one in sorted(counts.items())}
    slows = tuple((group, one.slow) for group, one in counted.items() if one.slow)
    return tuple((group, one.requests, one.failures) for group, one in counted.items()), slows


def up_to_now(rollout: Rollout, generations: Mapping[int, Generation], now: float, reading: EdgeReading) -> Rollout:
    """Return a rollout with the windows until now: what came since its last commit is the newest."""
    late = control.late_stage(rollout, generations)
    if not reading.counts or (rollout.phase != "stage" and late is None):
        return rollout
    evidence = Evidence()
    evidence.take(now, rollout, reading.counts, late, control.apart(rollout, generations, reading.weights))
    return replace(rollout, windows=tuple(evidence.windows))


def _coarser(windows: list[Window]) -> list[Window]:
    """Join each window with the next one."""
    joined = [_joined(one, after) for one, after in zip(windows[::2], windows[1::2], strict=False)]
    return joined + windows[2 * len(joined) :]


def _joined(one: Window, after: Window) -> Window:
    return Window(after.at, after.stage, _merged(one.samples, after.samples))


def _merged(one: Mapping[str, Sample], other: Mapping[str, Sample]) -> dict[str, Sample]:
    return {n: _sum(one.get(n, NOTHING), other.get(n, NOTHING)) for n in {*one, *other}}


def _sum(one: Sample, other: Sample) -> Sample:
    return Sample(one.requests + other.requests, one.failures + other.failures, one.slow + other.slow)
