"""Simulated rollouts and what the judges say of each, as plain values that processes can hand to one another."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from anew.core.judging import standards
from anew.core.verdict import SLOWNESS
from anew.model import Judge, Policy
from figures import latencies
from figures.canaries import HORIZON, POINT, Scene, seconds
from figures.chance import among
from figures.follow import Follower, Second, followed, has_failed, has_passed, judged
from figures.judges import Series, argo, flagger, kayenta

STANDARDS = Judge()
SLOWLY = standards(SLOWNESS, Policy(judge=Judge(slow=0.95)))
LOOK = 60  # seconds between two judgements of Kayenta, and two measurements of Argo
WELL = 99.0  # percent that must be answered well, for Flagger and Argo
WORST_P99, WORST_P95 = 500.0, 300.0  # milliseconds, for Flagger and for Argo

Ends = tuple[int | None, int | None]  # the seconds until anew's fail, and until its pass, if one came before
Answers = dict[str, int | None]  # seconds until each judge takes the canary back


def course(criteria: Sequence[Sequence[Second]], judges: Sequence[Judge]) -> Ends:
    """Return when anew fails a canary, looking every second to the end, and when it would have passed it before."""
    followers = [Follower(one) for one in judges]
    passed = None
    for at in range(len(criteria[0])):
        for follower, windows in zip(followers, criteria, strict=True):
            follower.add(windows[at])
        if has_failed(followers, STANDARDS):
            return at + 1, passed
        if passed is None and has_passed(followers):
            passed = at + 1
    return None, passed


def alone(scene: Scene, first: int, count: int) -> list[Ends]:
    """Return what anew says of so many rollouts; the number of each is its seed."""
    return [
        course([seconds(scene, Random(f"{scene} {number}"))], [STANDARDS]) for number in range(first, first + count)
    ]


def beside(scene: Scene, first: int, count: int) -> list[tuple[Ends, Answers]]:
    """Return what all judges say of so many rollouts by errors."""
    out = []
    for number in range(first, first + count):
        random = Random(f"{scene} {number}")
        made = seconds(scene, random)
        control = [(new, among(random, bad, new, old) if new <= old else 0) for _, old, bad, new, _ in made]
        canary = [(new, bad) for _, _, _, new, bad in made]
        points, minutes = rates(canary, POINT), rates(canary, LOOK)
        answers = {
            "Kayenta": _times(kayenta(points, rates(control, POINT), LOOK // POINT), POINT),
            "Flagger": _times(flagger(points, lambda rate: 100 - rate >= WELL), POINT),
            "Argo": _times(argo(minutes, lambda rate: 100 - rate >= WELL), LOOK),
        }
        out.append((course([made], [STANDARDS]), answers))
    return out


def slow(kind: str, first: int, count: int) -> list[tuple[Ends, Answers]]:
    """Return what all judges say of so many rollouts by latencies."""
    out = []
    for number in range(first, first + count):
        made = latencies.trace(kind, Random(f"{kind} {number}"))
        ends = course([made.errors, made.slow], [STANDARDS, SLOWLY])
        p95 = latencies.quantiles(made.new, 0.95), latencies.quantiles(made.control, 0.95)
        mean = latencies.means(made.new), latencies.means(made.control)
        p99 = latencies.quantiles(made.new, 0.99)
        minutes = latencies.quantiles(made.new, 0.95, LOOK // POINT)
        answers = {
            "Kayenta, p95": _times(kayenta(*p95, LOOK // POINT), POINT),
            "Kayenta, mean": _times(kayenta(*mean, LOOK // POINT), POINT),
            "Flagger": _times(flagger(p99, lambda value: value <= WORST_P99), POINT),
            "Argo": _times(argo(minutes, lambda value: value <= WORST_P95), LOOK),
        }
        out.append((ends, answers))
    return out


def agree(scene: Scene, first: int, count: int) -> list[int]:
    """Return of how many looks at each rollout the verdict is another one than the keeper's."""
    made = [seconds(scene, Random(f"{scene} {number}")) for number in range(first, first + count)]
    return [sum(a != b for a, b in zip(judged(one, STANDARDS), followed(one, STANDARDS), strict=True)) for one in made]


def rates(counts: Sequence[tuple[int, int]], together: int) -> Series:
    """Return the percentage that failed in each stretch of so many seconds; None without requests."""
    out: list[float | None] = []
    for start in range(0, HORIZON, together):
        requests, bad = (sum(column) for column in zip(*counts[start : start + together], strict=True))
        out.append(100 * bad / requests if requests else None)
    return out


def _times(points: int | None, length: int) -> int | None:
    return None if points is None else points * length
