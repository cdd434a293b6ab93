"""Canaries: how often a good release is taken back, and how soon a bad one, beside other judges on the same traces."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from itertools import accumulate
from typing import TypeVar

from figures import latencies, page, trials
from figures.canaries import FEW, HORIZON, POINT, REPEATS, Scene, in_turn
from figures.figure import Count, Figure, Goal, Section, Table
from figures.judges import ERROR_LIMIT, FAILED_TICKS, FAILURE_LIMIT
from figures.shares import interval, percentile
from figures.trials import LOOK, STANDARDS, WELL, WORST_P95, WORST_P99, Answers, Ends

from anew.core import judging
from anew.model import CLIENT_WINDOW, Sample

T = TypeVar("T")
Outcomes = Sequence[tuple[Ends, Answers]]

RAMP = (0.01, 0.05, 0.25, 0.5)
BURST, LONG = 0.2, 0.5  # chances that a client which failed in a second goes on failing in the next one
QUIET = (  # the settings in which nothing is wrong
    Scene(100, 0.001),
    Scene(1000, 0.01, is_drifting=True),
    Scene(100, 0.05, is_drifting=True),
    Scene(5, 0.01),
    Scene(100, 0.01, RAMP, is_drifting=True),
    Scene(100, 0.01, lasts=BURST),
)
BEYOND = (Scene(100, 0.01, lasts=LONG), Scene(100, 0.01, lasts=BURST, is_by_request=True))  # nothing was promised
PART = 10  # for so many rollouts of those above there is one of these

ALPHA = STANDARDS.alpha
NOTHING = "nothing"
PEERS = ("Kayenta", "Flagger", "Argo")
BASE, RATE = 0.005, 100  # what regressions are multiples of
TIMES = (1.0, 1.5, 2.0, 5.0, 20.0)
WEIGHTS = (0.01, 0.1, 0.5)
SILENT = {
    "no traffic": Scene(0, 0.01),
    "no traffic on the canary": Scene(100, 0.01, (0.0,)),
    "nothing fails on either side": Scene(100, 0.0),
    "from some second on 60 % fail on both sides": Scene(100, 0.01, breaks=0.6),
    "from some second on all fails on both sides": Scene(100, 0.01, breaks=1 - 1e-12),
}
BATCH = 25  # rollouts that a process is given at a time
AGREEING = 2  # rollouts of each setting that are judged again as the keeper judges
VERDICTS = 25

METHOD = f"""Simulated rollouts of {HORIZON} s, judged by anew's own code after every second: `core.evidence` by
the rules of `core.judging`, windows joined as the keeper joins them. What both groups did in a second are counts
drawn from their exact laws, with fixed seeds; fewer than {FEW} requests per second come at random, more are dealt
out by weight. *Drift*: the share that fails goes up and down in waves, and traffic in steps, by half and for both
sides alike. *Bursts*: clients stay with one side, and one that failed repeats its request {REPEATS} times per
second, which fails, too, and goes on in the next second with a chance of {100 * BURST:g} % (*long bursts*:
{100 * LONG:g} %); the edge counts a client once in {CLIENT_WINDOW} s on its side (*by request*: every request
counts). What is *beyond* was never promised. False rollbacks are counted over all of the {HORIZON} s, whether the canary
had passed before or not.

The others judge the very same traces, by what they document. *Kayenta*: the judge of Netflix with its defaults,
on points of {POINT} s, of the canary and of a baseline out of the old group as large as the canary; it looks
every {LOOK} s at all points so far. *Flagger*: {FAILED_TICKS} failed ticks of {POINT} s, of a success rate below
{WELL:g} % or a p99 above {WORST_P99:g} ms. *Argo*: a measurement every {LOOK} s, of a success rate of {WELL:g} %
at least or a p95 of {WORST_P95:g} ms at most; more than {FAILURE_LIMIT} failures, or more than {ERROR_LIMIT}
errors in a row, end it. Kayenta's metric is the error rate, or the p95 or the mean of a point. *Passed*: anew let
the canary pass at some look. The other cells have the median and the 90th percentile of the canary's requests
until it was taken back, the same in seconds, and how many never were within {HORIZON} s; these count as later
than all others, so where they are many there is no percentile (-). Where nothing is wrong, a cell has the false
rollbacks.

Before, {100 * BASE:g} % of {RATE} requests per second fail. Latencies are lognormal (median {latencies.MEDIAN:g}
ms, the logarithm's deviation {latencies.SPREAD:g}); *slow* is above a p95 of the old group that was frozen
before, of {latencies.WARM} requests. anew judges errors and slowness together there, by one alpha; errors are the
same on both sides."""


def measure(arguments: argparse.Namespace) -> Section:
    """Simulate, and time one verdict."""
    verdicts = Figure("one verdict: 10⁶ requests, of which 5·10⁴ failed", "ms", tuple(_verdicts()), Goal(median=5.0))
    with ProcessPoolExecutor(arguments.processes) as pool:
        quiet, good = _quiet(pool, arguments.rollouts)
        errors, slowness = _errors(pool, arguments.traces), _slowness(pool, arguments.traces)
        silent, silence = _silence(pool, arguments.traces)
        wrong = [one for scene in QUIET for one in _many(pool, partial(trials.agree, scene), AGREEING)]
    says = f"looks at which sums say another verdict than all windows, of {len(wrong) * HORIZON:,}"
    counts = (*quiet, *silent, Count(says, str(sum(wrong)), "0", not any(wrong)))
    return Section("canary", "Canaries", METHOD, (verdicts,), counts, (good, errors, slowness, silence))


def _many(pool: Executor, work: Callable[[int, int], list[T]], number: int) -> list[T]:
    """Return what so many rollouts gave; a process has a batch of them at a time."""
    starts = range(0, number, BATCH)
    parts = pool.map(work, starts, [min(BATCH, number - start) for start in starts])
    return [one for part in parts for one in part]


def _quiet(pool: Executor, rollouts: int) -> tuple[list[Count], Table]:
    """Count false rollbacks, and what passes."""
    counts, rows = [], []
    for scene in (*QUIET, *BEYOND):
        number = rollouts if scene in QUIET else max(1, rollouts // PART)
        ends = _many(pool, partial(trials.alone, scene), number)
        failed = sum(fail is not None for fail, _ in ends)
        found, is_met = _found(failed, number)
        median = percentile([passed for _, passed in ends], 0.5)
        passed = _percent(sum(passed is not None for _, passed in ends) / number)
        is_asked = scene in QUIET
        name = scene.name.replace("bursts", "long bursts") if scene.lasts == LONG else scene.name
        name = name if is_asked else f"beyond: {name}"
        rows.append((name, f"{number:,}", found, passed, "-" if median is None else f"{median:g}"))
        counts += [(scene.name, is_met)] if is_asked else []
        _say(rows[-1])
    missed = [name for name, is_met in counts if not is_met]
    says = f"settings, of {len(QUIET)}, with more false rollbacks than {_percent(ALPHA)}, surely"
    header = ("setting", "rollouts", "rolled back (99 % interval)", "passed", "median s until then")
    found = "; ".join([str(len(missed)), *missed])
    return [Count(says, found, "0", not missed)], Table("Nothing is wrong", header, tuple(rows))


def _errors(pool: Executor, traces: int) -> Table:
    """Compare the judges by errors."""
    rows = []
    for weight in WEIGHTS:
        for times in TIMES:
            scene = Scene(RATE, BASE, (weight,), times)
            outcomes = _many(pool, partial(trials.beside, scene), traces)
            what = f"{times:g} times" if times > 1 else NOTHING
            rows.append((f"{what}, at {100 * weight:g} %", *_cells(outcomes, scene, is_quiet=times == 1)))
            _say(rows[-1])
    title = f"More errors: odds of failing, as a multiple of the old group's, and weight; {traces} traces each"
    return Table(title, ("errors", "anew passed", "anew", *PEERS), tuple(rows))


def _slowness(pool: Executor, traces: int) -> Table:
    """Compare the judges by latencies."""
    rows = []
    for kind in latencies.KINDS:
        outcomes = _many(pool, partial(trials.slow, kind), traces)
        rows.append((kind, *_cells(outcomes, latencies.SCENE, is_quiet=kind == NOTHING)))
        _say(rows[-1])
    title = f"Slower, at a weight of 10 %; {traces} traces each"
    return Table(title, ("latency", "anew passed", "anew", *outcomes[0][1]), tuple(rows))


def _silence(pool: Executor, traces: int) -> tuple[list[Count], Table]:
    """Count verdicts where there is nothing to judge by, or both sides are broken."""
    counts, rows = [], []
    for name, scene in SILENT.items():
        outcomes = _many(pool, partial(trials.beside, scene), traces)
        fails = sum(fail is not None for (fail, _), _ in outcomes)
        passes = sum(fail is None and passed is not None for (fail, passed), _ in outcomes)
        others = [_percent(sum(one[who] is not None for _, one in outcomes) / traces) for who in outcomes[0][1]]
        rows.append((name, *(_percent(one / traces) for one in (passes, fails, traces - passes - fails)), *others))
        _say(rows[-1])
        if name.startswith("no traffic"):
            says = f"{name}: passed or rolled back, of {traces}"
            counts.append(Count(says, str(passes + fails), "0", not passes + fails))
        else:
            found, is_met = _found(fails, traces)
            counts.append(Count(f"{name}: rolled back, of {traces}", found, f"from ≤ {_percent(ALPHA)}", is_met))
    header = ("what happens", "anew passes", "anew rolls back", "undecided", *(f"{who} rolls back" for who in PEERS))
    return counts, Table(f"Silence, and what is nobody's fault; {traces} traces each", header, tuple(rows))


def _cells(outcomes: Outcomes, scene: Scene, *, is_quiet: bool) -> list[str]:
    """Return how many anew passed, and a cell for each judge."""
    passed = sum(passed is not None for (_, passed), _ in outcomes) / len(outcomes)
    answers = {"anew": [fail for (fail, _), _ in outcomes]}
    answers |= {who: [one[who] for _, one in outcomes] for who in outcomes[0][1]}
    came = [0, *accumulate(new for _, _, new in in_turn(scene.rate, scene.stages))]
    return [_percent(passed), *(_cell(one, came, is_quiet=is_quiet) for one in answers.values())]


def _cell(found: Sequence[int | None], came: Sequence[int], *, is_quiet: bool) -> str:
    missed = found.count(None) / len(found)
    if is_quiet:
        return f"false: {_percent(1 - missed)}"
    at = [percentile(found, share) for share in (0.5, 0.9)]
    if at[0] is None:
        return f"not found: {_percent(missed)}"
    requests = " / ".join("-" if one is None else f"{came[int(one)]:,}" for one in at)
    seconds = " / ".join("-" if one is None else f"{one:g}" for one in at)
    return f"{requests} ({seconds} s)" + (f", not found: {_percent(missed)}" if missed else "")


def _verdicts() -> list[float]:
    """Time verdicts on a large window, each another one, so that nothing is remembered of it."""
    out = []
    for more in range(VERDICTS):
        old, new = Sample(900_000, 45_000 - more), Sample(100_000, 5_000 + more)
        gc.collect()
        begun = time.perf_counter()
        judging.verdict([old], [new], STANDARDS)
        out.append(1000 * (time.perf_counter() - begun))
    return out


def _found(hits: int, of: int) -> tuple[str, bool]:
    """Return a share with its interval, and whether it may be as small as it should."""
    low, high = interval(hits, of)
    return f"{_percent(hits / of)} ({_percent(low)} to {_percent(high)})", low <= ALPHA


def _percent(share: float) -> str:
    return f"{100 * share:.{1 if share >= 0.1 else 2}f}".rstrip("0").rstrip(".") + " %" if share else "0 %"


def _say(cells: Sequence[str]) -> None:
    print(" | ".join(cells), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, rollouts=10_000, traces=300, processes=2)))
