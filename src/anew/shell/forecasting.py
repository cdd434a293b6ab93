"""The traffic there is now, and what stages could tell from so much."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from anew.core import control, traffic
from anew.core.forecast import forecast, sentence
from anew.model import Rollout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anew.model import Counts, Generation, Member, PerMille, Seconds
    from anew.ports import Edge

SPAN: Seconds = 1.0  # requests are counted for at least so long


class Traffic:
    """Counts what comes, from the moment it is made."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._began = time.monotonic()
        self._first = self._counts()

    def notes(self, generations: Mapping[int, Generation], serving: int, wanted: Generation) -> tuple[str, ...]:
        """Return which services have too little traffic for a verdict on `wanted`, a sentence each.

        Blocks  until `SPAN` is over since the beginning, if there is anything to judge.
        """
        if serving not in generations:
            return ()
        old, new = ({m.service: m for m in one.members} for one in (generations[serving], wanted))
        services = [s for s in traffic.judged(old, new) if new[s].kind in traffic.LISTENING]
        if not services or not self._first:
            return ()
        begun = Rollout(0, "rollout", serving, wanted.number, "stage", 0.0)
        compared = control.controls(begun, old, new)
        time.sleep(max(0.0, self._began + SPAN - time.monotonic()))
        span, now = time.monotonic() - self._began, self._counts()
        out = []
        for service in services:
            before, after = self._first.get(old[service].group), now.get(old[service].group)
            if before is None or after is None:
                continue
            rate = max(0, after.requests - before.requests) / span
            if after.trials > 0 and after.requests:  # trials of clients come in bursts, so not by the span
                rate *= min(1.0, after.trials / after.requests)
            failing = after.failures / after.requests if after.requests else 0.0
            policy = new[service].policy
            stages = [_stage(compared, old, new, service, stage) for stage in range(len(policy.stages))]
            out.append(sentence(service, policy, rate, forecast(policy, stages, rate, failing)))
        return tuple(filter(None, out))

    def _counts(self) -> Mapping[str, Counts]:
        reading = self._edge.reading()
        return reading.counts if reading.is_up else {}


def _stage(
    compared: Mapping[str, Member], old: Mapping[str, Member], new: Mapping[str, Member], service: str, stage: int
) -> tuple[PerMille, PerMille]:
    """Return the weights of a service's new group in a stage, and of whom it is compared with."""
    weights = traffic.wanted_weights(old, new, "stage", stage, compared)[service]
    return weights[new[service].group], weights[compared[service].group]
