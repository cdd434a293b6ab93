"""PUBLIC: what every edge must count for the judge: trials, bad and slow ones, and how long answers took.

They are part of `anew.testing.conformance_edge.CHECKS`; see there.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from anew.core.times import quantile
from anew.errors import SpecError
from anew.model import CLIENT_WINDOW, FULL, Counts, Declaration
from anew.testing.conformance import expect, expect_error
from anew.testing.conformance_edge_bench import Bench, Caller, held, until

HEADER = "header:X-User"
HELD = "/hold?s=0.2"  # seconds
LIMIT = 100_000  # microseconds


def _one(bench: Bench, how: str = "", limit: int = 0) -> Declaration:
    """Declare a group that has all traffic, with clients known by `how` and slow answers above `limit`."""
    sticky, slow = ((("web", how),) if how else ()), ((("web", limit),) if limit else ())
    declaration = replace(bench.declaration(bench.group("g1", "one")), sticky=sticky, slow=slow)
    bench.client().declare(declaration)
    bench.client().shift({"web": {"web-g1": FULL}})
    return declaration


def _judged(bench: Bench) -> tuple[int, int, int]:
    counts = bench.reading().counts["web-g1"]
    return counts.trials, counts.bad, counts.slow


def _ask(bench: Bench, *paths: str) -> None:
    for path in paths:
        with contextlib.suppress(OSError, http.client.HTTPException):
            bench.get(path)


def check_bad_answers_are_counted(bench: Bench) -> None:
    """An answer 5xx is bad, whoever gives it, and so is one that breaks off or never comes; everything else is not."""
    declaration = _one(bench)
    _ask(bench, "/", "/fail", "/", "/fail", "/cut", "/tear", "/", HELD)
    until(lambda: _judged(bench) == (8, 4, 0), "eight trials, four of them bad, none slow")
    bench.client().declare(replace(declaration, groups=(bench.group("g1"),)))
    _ask(bench, "/")
    until(lambda: _judged(bench) == (9, 5, 0), "nobody there is bad, too")
    counts = bench.reading().counts["web-g1"]
    expect("with the other counters", actual=(counts.requests, counts.failures), expected=(counts.trials, counts.bad))


def check_slow_answers_are_counted(bench: Bench) -> None:
    """An answer is slow above the threshold of its service, which changes at once and without a reload."""
    declaration, loaded = _one(bench), bench.loaded("a")
    expected = 0
    for limit in (0, LIMIT, 10 * LIMIT, LIMIT, 0):
        wanted = replace(declaration, slow=(("web", limit),))
        bench.client().declare(wanted)
        expect("it is read back", actual=bench.reading().declaration, expected=wanted)
        _ask(bench, "/", HELD)
        expected += limit == LIMIT
        expect(f"slow above {limit} us", actual=_judged(bench)[2], expected=expected)
    expect("it did not reload", actual=bench.loaded("a"), expected=loaded)
    refused = replace(declaration, slow=(("web", -1),))
    expect_error(SpecError, lambda: bench.client().declare(refused), "a negative threshold")


def check_a_threshold_stays(bench: Bench) -> None:
    """What is slow stays slow after a reload, and after all processes of the edge were killed."""
    declaration = _one(bench, limit=LIMIT)
    wanted = replace(declaration, groups=(*declaration.groups, bench.group("g2", "two")))
    bench.client().declare(wanted)
    _ask(bench, HELD)
    expect("slow after a reload", actual=_judged(bench), expected=(1, 0, 1))
    bench.kill("a")
    bench.client().declare(wanted)
    _ask(bench, HELD)
    expect("slow after a restart", actual=bench.reading().declaration, expected=wanted)
    expect("one more is slow", actual=_judged(bench)[2] in {1, 2})


def check_a_client_is_one_trial_in_its_window(bench: Bench) -> None:
    """Where clients are known, each is one trial, one bad and one slow one at most in each window."""
    paths = (HELD, "/", "/fail", "/fail", HELD, "/", "/fail", *("/",) * 20, HELD)
    for how in (HEADER, "cookie", "address"):
        _one(bench, how, limit=LIMIT)
        caller = bench.caller()
        windows = _windows(caller, "192.0.2.1", paths) + _windows(caller, "192.0.2.2", paths)
        trials, bad, slow = _judged(bench)
        said = f"{trials} trials of two clients, known by {how}, in {windows} windows"
        expect(said, actual=2 <= trials <= windows)
        expect(f"{bad} bad, {slow} slow: {said}", actual=2 <= bad <= trials and 2 <= slow <= trials)
        bench.client().stop()


def _windows(caller: Caller, user: str, paths: Sequence[str]) -> int:
    """Ask as one client, that is known by all it can be; return how many windows of the clock that touched."""
    begin = time.time() // CLIENT_WINDOW
    for path in paths:
        caller.get(path, X_User=user, Cookie=f"anew-web={user}", X_Forwarded_For=user)
    return int(time.time() // CLIENT_WINDOW - begin) + 1


def check_who_is_nobody_is_always_a_trial(bench: Bench) -> None:
    """A request that no client can be told of is a trial of its own, and so is one that gets its cookie just now."""
    for how in (HEADER, "cookie"):
        _one(bench, how)
        _ask(bench, *("/", "/fail") * 10)
        expect(f"by {how}", actual=_judged(bench), expected=(20, 10, 0))
        bench.client().stop()


def check_times_are_told_within_one_percent(bench: Bench) -> None:
    """The quantiles of the times are those of the answers, within 1 %; nobody gets them who does not ask."""
    _one(bench)
    took = []
    caller = bench.caller()
    for _ in range(9):
        begin = time.perf_counter()
        caller.get("/hold?s=0.3")
        took.append((time.perf_counter() - begin) * 1_000_000)
    caller.get("/hold?s=1")
    expect("nobody asked", actual=bench.reading().counts["web-g1"].times, expected=())
    times = _times(bench).times
    expect("all are there", actual=sum(count for _, count in times), expected=10)
    for q in (0.1, 0.5, 0.9):
        expect(
            f"{q}: {quantile(times, q)}", actual=300_000 * 0.99 <= quantile(times, q) <= sorted(took)[int(9 * q)] * 1.01
        )
    expect("the longest", actual=1_000_000 * 0.99 <= quantile(times, 1) <= 1_100_000)


def _times(bench: Bench) -> Counts:
    return bench.client().reading(has_times=True).counts["web-g1"]


def check_what_is_judged_outlives_reloads(bench: Bench) -> None:
    """Trials and times go on over reloads, with what an old worker finishes while it lives, and after a restart."""
    declaration = _one(bench, limit=LIMIT)
    extra = replace(declaration, groups=(*declaration.groups, bench.group("g2", "two")))
    _ask(bench, "/", HELD)
    with held(bench.caller()):
        with held(bench.caller()):
            for number in range(4):
                bench.client().declare(declaration if number % 2 else extra)
                _ask(bench, "/")
                expect("trials go on", actual=_judged(bench), expected=(3 + number, 0, 1))
                expect("and times", actual=_answers(bench), expected=3 + number)
        until(lambda: _judged(bench) == (7, 0, 2), "one of the held ones is a trial, too, and slow")
        expect("its time is there", actual=_answers(bench), expected=7)
        counted = _times(bench)
        bench.kill("a")
        bench.client().declare(declaration)
        expect("nothing went back", actual=replace(_times(bench), in_flight=1), expected=replace(counted, in_flight=1))


def _answers(bench: Bench) -> int:
    return sum(count for _, count in _times(bench).times)


def check_previews_are_not_judged(bench: Bench) -> None:
    """A request over the preview listener is no trial, and its time counts nowhere, before a reload and after."""
    declaration = _one(bench, HEADER, limit=LIMIT)
    preview, extra = "g1.web.internal", bench.group("g2", "two")
    caller = bench.caller(preview, is_preview=True)
    for groups in (declaration.groups, (*declaration.groups, extra)):
        bench.client().declare(replace(declaration, groups=groups))
        for one in (caller, bench.caller(preview, is_preview=True)):
            for path in ("/", "/fail", HELD):
                one.get(path, X_User="a")
    counts = _times(bench)
    expect("judged", actual=(counts.trials, counts.bad, counts.slow, counts.times), expected=(0, 0, 0, ()))
    _ask(bench, "/")
    expect("the public is", actual=_judged(bench), expected=(1, 0, 0))


def check_callers_are_judged_and_tcp_is_not(bench: Bench) -> None:
    """What comes from a caller's listener is judged, pinned or not; of TCP nothing is."""
    door, pinned = bench.listener("shop-g1"), bench.listener("shop-g2", group="web-g1")
    wire = bench.listener("public", "cache")
    declaration = replace(_one(bench), listeners=(door, pinned, wire), slow=(("web", LIMIT), ("cache", 1)))
    declaration = replace(declaration, groups=(*declaration.groups, bench.tcp_group("g1", "echo1")))
    bench.client().declare(declaration)
    bench.client().shift({"web": {"web-g1": FULL}, "cache": {"cache-g1": FULL}})
    expect("it is read back", actual=bench.reading().declaration, expected=declaration)
    for one in (door, pinned):
        bench.through(one).get("/fail")
    bench.wire(wire).close()
    expect("callers", actual=_judged(bench), expected=(2, 2, 0))
    until(lambda: bench.reading().counts["cache-g1"].requests == 1, "the connection is counted")
    tcp = bench.client().reading(has_times=True).counts["cache-g1"]
    expect("TCP", actual=tcp, expected=Counts(requests=1, in_flight=tcp.in_flight))


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    one for name, one in sorted(globals().items()) if name.startswith("check_") and callable(one)
)
