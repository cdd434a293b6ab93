"""PUBLIC: what every edge must do, as one body of checks on the port `anew.ports.Edge`.

Each `check_*` takes a `Bench`, runs on the real thing, and raises `Nonconforming` with a sentence if the edge does
not conform. `CHECKS` are all of them. A new check begins with no edge running: call `Bench.renew` in between.

>>> sorted(one.__name__ for one in CHECKS)[0]
'check_a_client_is_one_trial_in_its_window'
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from anew.errors import AnewError, Conflict, EngineError, NotFound
from anew.model import FULL, Declaration, Route, Target
from anew.testing import conformance_edge_judged as judged
from anew.testing import conformance_edge_listeners as listeners
from anew.testing import conformance_edge_sticky as sticky
from anew.testing.conformance import Nonconforming, expect, expect_error
from anew.testing.conformance_edge_bench import HOST, Answer, Bench, drained, held, until

MOMENTS = tuple(ms / 1000 for ms in (0, 5, 15, 25, 40, 60, 80, 120))
OLD, BOTH = {"web": {"web-g1": FULL}}, {"web": {"web-g1": 900, "web-g2": 100}}
NEW = {"web": {"web-g2": FULL}}


def _two(bench: Bench) -> Declaration:
    """Declare two groups, all traffic on the first; return the declaration."""
    declaration = bench.declaration(bench.group("g1", "one"), bench.group("g2", "two"))
    bench.client().declare(declaration)
    bench.client().shift(OLD)
    return declaration


def check_twice_is_once(bench: Bench) -> None:
    """Every call may be repeated: declare, shift, stop."""
    declaration = _two(bench)
    before = bench.reading()
    expect(
        "it is up and says what was declared", actual=(before.is_up, before.declaration), expected=(True, declaration)
    )
    caller = bench.caller()
    caller.get()
    for _ in range(3):
        bench.client().declare(declaration)
        bench.client().shift(OLD)
        caller.get()
    expect("connections were left alone", actual=caller.reconnected, expected=1)
    after = bench.reading()
    expect("nothing changed", actual=(after.declaration, after.weights), expected=(declaration, OLD))
    bench.client().stop()
    bench.client().stop()
    expect("it is gone", actual=bench.reading().is_up, expected=False)


def check_zero_weight_means_zero_requests(bench: Bench) -> None:
    """A group out of traffic gets nothing, not even while its weight is raised elsewhere and taken back."""
    _two(bench)
    seen = bench.instance("two").ask("/seen")
    with bench.load() as load:
        load.wait(500)
    expect("no request failed", actual=load.bad(), expected=[])
    expect("none reached it", actual=bench.instance("two").ask("/seen"), expected=seen)
    expect("none was counted", actual=bench.reading().counts["web-g2"].requests, expected=0)


def check_weights_are_honoured(bench: Bench) -> None:
    """Of 5,000 requests at 100 per mille, 500 reach the group, within five standard deviations."""
    _two(bench)
    bench.client().shift(BOTH)
    with bench.load() as load:
        load.wait(5000)
    total, share = load.total(), load.answers[200, "two"]
    bound = 5 * (total * 0.1 * 0.9) ** 0.5
    expect(f"{share} of {total} at 100 per mille", actual=abs(share - total / 10) < bound)
    counts = bench.reading().counts
    expect(
        "what is counted",
        actual=(counts["web-g1"].requests, counts["web-g2"].requests),
        expected=(total - share, share),
    )


def check_a_shift_is_confirmed(bench: Bench) -> None:
    """When `shift` returns, the next request goes where it says, on old connections too, and a reading says so."""
    _two(bench)
    caller = bench.caller()
    for weights, name in ((NEW, "two"), (OLD, "one"), (NEW, "two")):
        bench.client().shift(weights)
        expect("it is read back", actual=bench.reading().weights, expected=weights)
        names = {caller.get().text.strip() for _ in range(50)}
        expect("where requests go", actual=names, expected={name})
    bench.client().shift({"web": {}})
    answer = bench.get()
    expect("no weights", actual=(answer.status, "retry-after" in answer.headers), expected=(503, True))
    expect("no weights are read", actual=bench.reading().weights, expected={})


def check_an_undeclared_group_gets_no_weight(bench: Bench) -> None:
    """A weight for a group that is not declared is NotFound, and changes nothing."""
    _two(bench)
    client = bench.client()
    expect_error(NotFound, lambda: client.shift({"web": {"web-g9": FULL}}), "an unknown group")
    expect("weights stay", actual=bench.reading().weights, expected=OLD)


def check_a_held_request_outlives_a_reload(bench: Bench) -> None:
    """A request that is held across a reload is still in flight, counted at its instance and group, and completes."""
    declaration = _two(bench)
    with held(bench.caller()) as outcome:
        until(lambda: bench.reading().in_flight.get("one") == 1, "the request is in flight")
        bench.client().declare(bench.declaration(*declaration.groups, bench.group("g3", "three")))
        bench.client().shift(NEW)
        reading = bench.reading()
        expect("in flight at its instance", actual=reading.in_flight["one"], expected=1)
        expect("in flight in its group", actual=reading.counts["web-g1"].in_flight, expected=1)
        expect("nothing in flight elsewhere", actual=reading.counts["web-g2"].in_flight, expected=0)
    expect("it completed", actual=[one.text if isinstance(one, Answer) else one for one in outcome], expected=["one\n"])
    until(lambda: bench.reading().in_flight["one"] == 0, "nothing is in flight any more")


def check_targets_change_without_a_reload(bench: Bench) -> None:
    """Targets come and go at once, and connections of clients stay."""
    _two(bench)
    caller = bench.caller()
    caller.get()
    for names in (("one", "three"), ("three",), ("three", "two"), ("two", "one"), ("one",)):
        bench.client().declare(bench.declaration(bench.group("g1", *names), bench.group("g2", "two")))
        answers = {caller.get().text.strip() for _ in range(20)}
        expect("who answers", actual=answers, expected=set(names))
    expect("connections stayed", actual=caller.reconnected, expected=1)


def check_a_draining_target_gets_nothing_new(bench: Bench) -> None:
    """A target that drains finishes what it has; new requests go to the others."""
    group, other = bench.group("g1", "one", "three"), bench.group("g2", "two")
    bench.client().declare(bench.declaration(group, other))
    bench.client().shift(OLD)
    with contextlib.ExitStack() as stack:
        outcomes = [stack.enter_context(held(bench.caller())) for _ in range(2)]
        until(lambda: bench.reading().in_flight.get("one") == 1, "one request is in flight at each")
        bench.client().declare(bench.declaration(drained(group, "one"), other))
        expect("who answers", actual={bench.get().text.strip() for _ in range(20)}, expected={"three"})
        expect("it is still in flight", actual=bench.reading().in_flight["one"], expected=1)
    texts = sorted(one.text if isinstance(one, Answer) else str(one) for outcome in outcomes for one in outcome)
    expect("both completed", actual=texts, expected=["one\n", "three\n"])
    bench.client().declare(bench.declaration(group, other))
    expect("it is back", actual={bench.get().text.strip() for _ in range(20)}, expected={"one", "three"})


def check_reloads_lose_nothing(bench: Bench) -> None:
    """Clients that keep connections alive lose nothing over twenty reloads under load; counters never go back."""
    declaration = _two(bench)
    extra = bench.group("g3", "three")
    with bench.load() as load:
        before = 0
        for _ in range(10):
            bench.client().declare(replace(declaration, groups=(*declaration.groups, extra)))
            bench.client().shift({"web": {"web-g3": FULL}})
            load.wait(100)
            bench.client().shift({"web": {"web-g1": 500, "web-g2": 500}})
            bench.client().declare(declaration)
            load.wait(100)
            counted = sum(bench.reading().counts[name].requests for name in ("web-g1", "web-g2"))
            expect("counters go on", actual=counted >= before)
            before = counted
    expect(f"failures of {load.total()}", actual=load.bad(), expected=[])


def check_a_new_group_serves_old_connections(bench: Bench) -> None:
    """A group that a reload brought gets all traffic: the very next request, also on a connection from before."""
    group = bench.group("g1", "one")
    bench.client().declare(bench.declaration(group))
    bench.client().shift(OLD)
    callers = [bench.caller() for _ in range(5)]
    for caller in callers:
        caller.get()
    bench.client().declare(bench.declaration(group, bench.group("g2", "two")))
    bench.client().shift(NEW)
    expect("who answers", actual={caller.get().text.strip() for caller in callers}, expected={"two"})
    expect("what was counted", actual=bench.reading().counts["web-g2"].requests, expected=5)


def check_an_empty_group_answers_503(bench: Bench) -> None:
    """A group without instances answers 503 with Retry-After, and is back as soon as it has one."""
    bench.client().declare(bench.declaration(bench.group("g1")))
    bench.client().shift(OLD)
    answer = bench.get()
    expect("the answer", actual=(answer.status, "retry-after" in answer.headers), expected=(503, True))
    bench.client().declare(bench.declaration(bench.group("g1", "one")))
    expect("it is back", actual=bench.get().text, expected="one\n")


def check_a_dead_instance_leaves_traffic(bench: Bench) -> None:
    """No request fails because an instance that is idle died, though nobody tells the edge."""
    bench.client().declare(bench.declaration(bench.group("g1", "one", "mortal")))
    bench.client().shift(OLD)
    expect("both answer", actual={bench.get().text.strip() for _ in range(20)}, expected={"one", "mortal"})
    bench.instance("mortal").kill()
    expect("who answers", actual={bench.get().text.strip() for _ in range(40)}, expected={"one"})


def check_a_sick_instance_leaves_traffic(bench: Bench) -> None:
    """An instance whose health check fails gets nothing, until it is well again."""
    bench.client().declare(bench.declaration(bench.group("g1", "one", "three")))
    bench.client().shift(OLD)
    bench.instance("three").ask("/sick")
    until(lambda: {bench.get().text.strip() for _ in range(10)} == {"one"}, "the sick one is out")
    bench.instance("three").ask("/well")
    until(lambda: {bench.get().text.strip() for _ in range(10)} == {"one", "three"}, "it is back")


def check_nothing_is_asked_twice(bench: Bench) -> None:
    """A request that reached an instance is never sent again, even if no answer comes, on old connections and new."""
    bench.client().declare(bench.declaration(bench.group("g1", "one", "three")))
    bench.client().shift(OLD)
    names = ("one", "three")
    before = sum(int(bench.instance(name).ask("/seen")) for name in names)
    sent = 0
    for paths in (("/cut",), ("/", "/cut"), ("/", "/", "/cut"), ("/tear",), ("/", "/tear")) * 4:
        caller = bench.caller()
        for path in paths:
            with contextlib.suppress(OSError, http.client.HTTPException):
                caller.get(path)
            sent += 1
        caller.close()
    seen = sum(int(bench.instance(name).ask("/seen")) for name in names)
    expect("requests that came", actual=seen - before, expected=sent)
    until(lambda: bench.reading().counts["web-g1"].requests == sent, "all are counted")


def check_failures_are_counted(bench: Bench) -> None:
    """Answers 5xx are failures, and so is one that breaks off or never comes; everything else is not."""
    _two(bench)
    for path in ("/", "/fail", "/", "/fail", "/fail", "/cut", "/tear"):
        with contextlib.suppress(OSError, http.client.HTTPException):
            bench.get(path)
    until(lambda: bench.reading().counts["web-g1"].failures == 5, "five failures are counted")
    expect("requests", actual=bench.reading().counts["web-g1"].requests, expected=7)


def check_hosts_are_routed(bench: Bench) -> None:
    """Names are compared without case and port; an unknown one is 404, unless a route takes all others."""
    declaration = _two(bench)
    public = declaration.port
    for host in ("web.example", "WEB.Example", f"web.example:{public}"):
        expect(host, actual=bench.get(host=host).text, expected="one\n")
    for host in ("other.example", "web.example.org", "g2.web.internal"):
        answer = bench.get(host=host)
        expect(host, actual=(answer.status, len(answer.text) > 10), expected=(404, True))
    routes = (*declaration.routes, Route("*", "web"))
    bench.client().declare(replace(declaration, routes=routes))
    expect("all others", actual=bench.get(host="other.example").text, expected="one\n")


def check_previews_are_apart(bench: Bench) -> None:
    """The preview listener reaches a group whatever its weight; the public one never does by that name."""
    _two(bench)
    for name, text in (("g1", "one\n"), ("g2", "two\n")):
        expect("preview", actual=bench.get(host=f"{name}.web.internal", is_preview=True).text, expected=text)
        expect("in public", actual=bench.get(host=f"{name}.web.internal").status, expected=404)
    expect("public name", actual=bench.get(is_preview=True).status, expected=404)


def check_a_second_client_sees_the_same(bench: Bench) -> None:
    """What one client did, another one reads at once."""
    declaration = _two(bench)
    first, second = bench.client(), bench.client()
    first.shift(BOTH)
    bench.get()
    expect("both read the same", actual=first.reading(), expected=second.reading())
    expect("declaration", actual=second.reading().declaration, expected=declaration)


def check_a_lost_reply_is_no_loss(bench: Bench) -> None:
    """Whoever calls again after being killed in the midst of a call reaches what was wanted, and requests go on."""
    declaration = _two(bench)
    extra = bench.declaration(*declaration.groups, bench.group("g3", "three"))
    with bench.load() as load:
        for number, moment in enumerate(MOMENTS):
            wanted, weights = (extra, BOTH) if number % 2 else (declaration, OLD)
            bench.abandon("a", wanted, moment)
            bench.reading()
            bench.client().declare(wanted)
            bench.abandon("a", weights, moment)
            bench.client().shift(weights)
            reading = bench.reading()
            expect("the end", actual=(reading.declaration, reading.weights), expected=(wanted, weights))
        load.wait(100)
    expect(f"failures of {load.total()}", actual=load.bad(), expected=[])


def check_a_start_that_was_cut_off_is_completed(bench: Bench) -> None:
    """An edge whose first `declare` was killed at any moment comes up when it is called again."""
    declaration = bench.declaration(bench.group("g1", "one"))
    for moment in MOMENTS:
        bench.client()
        bench.abandon("a", declaration, moment)
        bench.client().declare(declaration)
        bench.client().shift(OLD)
        expect("it serves", actual=bench.get().text, expected="one\n")
        bench.client().stop()


def check_a_killed_edge_comes_back_with_its_weights(bench: Bench) -> None:
    """All its processes killed: a reading says that it is down; `declare` brings it back with weights and targets."""
    declaration = _two(bench)
    bench.client().shift(NEW)
    bench.get()
    counted = bench.reading().counts["web-g2"].requests
    for _ in range(2):
        bench.kill("a")
        expect("it is down", actual=bench.reading().is_up, expected=False)
        expect_error(EngineError, lambda: bench.client().shift(OLD), "a shift while it is down")
        bench.client().declare(declaration)
        reading = bench.reading()
        expect("it is back", actual=(reading.declaration, reading.weights), expected=(declaration, NEW))
        expect("who answers", actual=bench.get().text, expected="two\n")
    expect("counters go on", actual=bench.reading().counts["web-g2"].requests >= counted)


def check_what_is_refused_leaves_what_runs(bench: Bench) -> None:
    """A declaration that the edge can't run raises, and what ran goes on, readings included."""
    declaration = _two(bench)
    broken = replace(bench.group("g1"), targets=(Target("broken", 700_000),))
    another = replace(bench.group("g9"), health="/a b")
    with bench.load() as load:
        for groups in ((*declaration.groups, replace(broken, name="web-g7")), (another,), (broken,)):
            refused = bench.declaration(*groups)
            expect_error(AnewError, partial(bench.client().declare, refused), "what can't run")
            reading = bench.reading()
            expect("what runs", actual=(reading.declaration, reading.weights), expected=(declaration, OLD))
        load.wait(50)
    expect(f"failures of {load.total()}", actual=load.bad(), expected=[])
    bench.client().declare(bench.declaration(*declaration.groups, bench.group("g3", "three")))


def check_a_taken_address_is_a_conflict(bench: Bench) -> None:
    """An address that another program listens on is a Conflict that names it; when it is free, all is well."""
    declaration = bench.declaration(bench.group("g1", "one"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, declaration.port))
        other.listen()
        error = expect_error(Conflict, lambda: bench.client().declare(declaration), "a taken address")
        expect("the address is named", actual=f"{HOST}:{declaration.port}" in error.what)
        expect("what to do is said", actual="listen" in error.hint)
    bench.client().declare(declaration)
    bench.client().shift(OLD)
    expect("it serves", actual=bench.get().text, expected="one\n")


def check_scopes_do_not_disturb_each_other(bench: Bench) -> None:
    """Two edges beside each other: neither sees the other, and the end of one is nothing to the other."""
    first = _two(bench)
    group = bench.group("g1", "three")
    second = bench.declaration(group, scope="b")
    bench.client("b").declare(second)
    bench.client("b").shift(OLD)
    expect("the first", actual=bench.reading().declaration, expected=first)
    expect("the second", actual=bench.reading("b").declaration, expected=second)
    with bench.load() as load:
        bench.client("b").stop()
        load.wait(100)
    expect("failures", actual=load.bad(), expected=[])
    expect("the first is up", actual=(bench.reading().is_up, bench.reading("b").is_up), expected=(True, False))


def check_forgotten_groups_are_forgotten(bench: Bench) -> None:
    """A group that is no longer declared has no weight and no counts; what it had answers 503 until it is shifted."""
    declaration = _two(bench)
    bench.client().declare(replace(declaration, groups=declaration.groups[1:]))
    reading = bench.reading()
    expect("weights", actual=reading.weights, expected={})
    expect("counts", actual=sorted(reading.counts), expected=["web-g2"])
    expect("the answer", actual=bench.get().status, expected=503)
    bench.client().shift(NEW)
    expect("it serves", actual=bench.get().text, expected="two\n")


def check_readings_are_cheap(bench: Bench) -> None:
    """A reading of two groups takes less than 50 ms at the median; it is asked for several times a second."""
    _two(bench)
    client, spent = bench.client(), []
    for _ in range(21):
        begin = time.perf_counter()
        client.reading()
        spent.append(time.perf_counter() - begin)
    expect("median seconds", actual=sorted(spent)[10] < 0.05)


_OWN = [one for name, one in sorted(globals().items()) if name.startswith("check_")]
CHECKS: tuple[Callable[[Bench], None], ...] = (*_OWN, *judged.CHECKS, *listeners.CHECKS, *sticky.CHECKS)
__all__ = ["CHECKS", "Bench", "Nonconforming"]
