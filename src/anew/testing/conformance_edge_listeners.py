"""PUBLIC: what every edge must do with listeners, pins and TCP: more checks on the port `anew.ports.Edge`.

They are part of `anew.testing.conformance_edge.CHECKS`; see there.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from anew.errors import Conflict, NotFound
from anew.model import FULL, Declaration, Listener
from anew.testing.conformance import expect, expect_error
from anew.testing.conformance_edge_bench import HOST, Answer, Bench, Load, Wire, drained, held, until

MOMENTS = tuple(ms / 1000 for ms in (0, 5, 10, 15, 25, 40))
OLD, NEW, BOTH = ({"web": {"web-g1": FULL - part, "web-g2": part}} for part in (0, FULL, 100))
TCP_OLD, TCP_NEW = ({"cache": {"cache-g1": FULL - part, "cache-g2": part}} for part in (0, FULL))


def _declared(bench: Bench, *listeners: Listener) -> Declaration:
    """Declare two groups of `web`, all traffic on the first, and listeners; return the declaration."""
    plain = bench.declaration(bench.group("g1", "one"), bench.group("g2", "two"))
    bench.client().declare(declaration := replace(plain, listeners=listeners))
    bench.client().shift(OLD)
    return declaration


def _tcp(bench: Bench, *listeners: Listener) -> Declaration:
    """Declare two groups of `cache`, all traffic on the first, and listeners; return the declaration."""
    groups = bench.tcp_group("g1", "echo1"), bench.tcp_group("g2", "echo2")
    bench.client().declare(declaration := replace(bench.declaration(*groups), listeners=listeners))
    bench.client().shift(TCP_OLD)
    return declaration


def _pinned(declaration: Declaration, group: str) -> Declaration:
    return replace(declaration, listeners=tuple(replace(one, group=group) for one in declaration.listeners))


def _took(listener: Listener, often: int = 20) -> dict[str, int]:
    """Return who took so many new connections."""
    took: Counter[str] = Counter()
    for _ in range(often):
        with contextlib.closing(Wire(listener.port)) as wire:
            took[wire.name] += 1
    return dict(took)


def check_a_pin_holds_against_weights(bench: Bench) -> None:
    """A pinned listener reaches its group whatever the weights, for every host name, and the group counts it."""
    old, new = bench.listener("web-g1", group="web-g1"), bench.listener("web-g2", group="web-g2")
    shared = bench.listener("shop-g1")
    _declared(bench, old, new, shared)
    callers = [bench.through(one) for one in (old, new, shared)]
    for weights, public in ((OLD, "one"), (NEW, "two"), (OLD, "one")):
        bench.client().shift(weights)
        for caller, name in zip(callers, ("one", "two", public), strict=True):
            expect("who answers", actual={caller.get().text.strip() for _ in range(20)}, expected={name})
    counts = bench.reading().counts
    expect("what is counted", actual=[counts[g].requests for g in ("web-g1", "web-g2")], expected=[100, 80])
    head = callers[1].get("/headers").text.lower()
    expect("the usual headers", actual=f"x-forwarded-for: {HOST}" in head and "x-forwarded-proto: http" in head)


def check_a_pin_changes_without_a_reload(bench: Bench) -> None:
    """When `declare` returns, the next request goes by the new pin, on old connections too; nothing reloads."""
    declaration = _declared(bench, bench.listener("web-g1", group="web-g1"), bench.listener("shop-g1"))
    caller, other = (bench.through(one) for one in declaration.listeners)
    loaded = bench.loaded("a")
    for group, name in (("web-g2", "two"), ("web-g1", "one"), ("web-g2", "two"), ("", "one")):
        wanted = replace(
            declaration, listeners=(replace(declaration.listeners[0], group=group), declaration.listeners[1])
        )
        bench.client().declare(wanted)
        expect("who answers", actual={caller.get().text.strip() for _ in range(10)}, expected={name})
        expect("who answers elsewhere", actual=other.get().text, expected="one\n")
        expect("it is read back", actual=bench.reading().declaration, expected=wanted)
    expect("the connection stayed", actual=(caller.reconnected, other.reconnected), expected=(1, 1))
    expect("nothing was reloaded", actual=bench.loaded("a"), expected=loaded)


def check_a_listener_follows_weights(bench: Bench) -> None:
    """Of 5,000 requests through a listener without a pin, a group with 100 per mille gets 500, within bounds."""
    listener = bench.listener("shop-g1")
    _declared(bench, listener)
    bench.client().shift(BOTH)
    with Load(listener.port, "anything.example") as load:
        load.wait(5000)
    total, share = load.total(), load.answers[200, "two"]
    expect(f"{share} of {total}", actual=abs(share - total / 10) < 5 * (total * 0.1 * 0.9) ** 0.5)
    expect("what is counted", actual=bench.reading().counts["web-g2"].requests, expected=share)


def check_listeners_come_and_go_without_loss(bench: Bench) -> None:
    """Others lose nothing, and keep their pins, while listeners come and go under load; a new one serves at once."""
    lasting, passing = bench.listener("web-g2", group="web-g2"), bench.listener("web-g1", group="web-g1")
    declaration = _declared(bench, lasting)
    with bench.load() as public, Load(lasting.port, "anything.example") as load:
        for number in range(10):
            bench.client().declare(replace(declaration, listeners=(lasting, passing)))
            caller = bench.through(passing)
            expect("the new one serves", actual=caller.get().text, expected="one\n")
            load.wait(50)
            if number % 2:
                caller.close()
            bench.client().declare(declaration)
            load.wait(50)
    expect(f"failures of {load.total()}", actual=load.bad(), expected=[])
    expect("who answered", actual={name for _, name in load.answers}, expected={"two"})
    expect(f"failures of {public.total()} in public", actual=public.bad(), expected=[])


def check_pins_act_across_reloads(bench: Bench) -> None:
    """After a reload, old connections go by the newest pin from the next request on; the one in flight completes."""
    declaration = _declared(bench, bench.listener("web-g1", group="web-g1"))
    callers = [bench.through(declaration.listeners[0]) for _ in range(4)]
    for caller in callers[1:]:
        caller.get()
    with held(callers[0]) as outcome:
        until(lambda: bench.reading().in_flight.get("one") == 1, "a request is in flight")
        more = (*declaration.listeners, bench.listener("web-g2", group="web-g2"))
        wanted = replace(declaration, listeners=(replace(more[0], group="web-g2"), more[1]))
        bench.client().declare(wanted)
        expect("after a reload", actual=callers[1].get().text, expected="two\n")
        bench.client().declare(replace(wanted, listeners=more))
        expect("after the pin went back", actual=callers[2].get().text, expected="one\n")
        bench.client().declare(wanted)
        expect("after another change", actual=callers[3].get().text, expected="two\n")
        expect("it is still in flight", actual=bench.reading().in_flight["one"], expected=1)
    expect("it completed", actual=[one.text if isinstance(one, Answer) else one for one in outcome], expected=["one\n"])
    expect("and goes by the pin", actual=callers[0].get().text, expected="two\n")


def check_a_listener_without_an_instance_answers_503(bench: Bench) -> None:
    """No weights, or no instance in the pinned group though others have some: 503 with Retry-After, and soon 200."""
    following, pinned = bench.listener("shop-g1"), bench.listener("web-g3", group="web-g3")
    declaration = _declared(bench, following)
    empty = replace(declaration, groups=(*declaration.groups, bench.group("g3")), listeners=(following, pinned))
    bench.client().declare(empty)
    bench.client().shift({"web": {}})
    for one in (following, pinned):
        answer = bench.through(one).get()
        expect(one.name, actual=(answer.status, "retry-after" in answer.headers), expected=(503, True))
    bench.client().shift(OLD)
    expect("weights do not help a pin", actual=bench.through(pinned).get().status, expected=503)
    expect("they are back", actual=bench.through(following).get().text, expected="one\n")
    bench.client().declare(replace(empty, groups=(*declaration.groups, bench.group("g3", "three"))))
    expect("its instance is there", actual=bench.through(pinned).get().text, expected="three\n")


def check_a_pin_to_an_unknown_group_is_not_found(bench: Bench) -> None:
    """A pin to a group that is not declared, or is another service's, is NotFound, and changes nothing."""
    declaration = _declared(bench, bench.listener("web-g1", group="web-g1"))
    wrong = _pinned(declaration, "web-g9"), replace(declaration, listeners=(bench.listener("a", "api", "web-g1"),))
    for one in wrong:
        expect_error(NotFound, partial(bench.client().declare, one), "an unknown group")
        expect("what is declared", actual=bench.reading().declaration, expected=declaration)


def check_a_listeners_taken_port_is_a_conflict(bench: Bench) -> None:
    """A port that another program listens on is a Conflict with the listener's name; the rest goes on."""
    declaration = _declared(bench, bench.listener("web-g1", group="web-g1"))
    more = replace(declaration, listeners=(*declaration.listeners, bench.listener("web-g2")))
    port = more.listeners[1].port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, port))
        other.listen()
        error = expect_error(Conflict, lambda: bench.client().declare(more), "a taken port")
        expect(
            "what is said", actual="web-g2>web" in error.what and f"{HOST}:{port}" in error.what and error.hint != ""
        )
        expect("what runs", actual=bench.reading().declaration, expected=declaration)
    bench.client().declare(more)
    expect("it serves", actual=bench.through(more.listeners[1]).get().text, expected="one\n")


def check_a_second_client_sees_listeners_and_pins(bench: Bench) -> None:
    """What one client declared another reads; an edge that was killed comes back with its pins from the beginning."""
    pinned, following = bench.listener("web-g1", group="web-g1"), bench.listener("shop-g1")
    declaration = _declared(bench, pinned, following)
    first, second = bench.client(), bench.client()
    expect("both read the same", actual=first.reading(), expected=second.reading())
    expect("listeners and pins", actual=second.reading().declaration, expected=declaration)
    first.declare(swapped := _pinned(declaration, "web-g2"))
    expect("changed pins", actual=second.reading().declaration, expected=swapped)
    with Load(pinned.port, "anything.example") as load:
        load.wait(50)
        bench.kill("a")
        second.declare(swapped)
        load.wait(50)
    expect("after a kill", actual=first.reading().declaration, expected=swapped)
    expect("who answered", actual={name for _, name in load.answers}, expected={"two"})


def check_a_declare_of_pins_that_was_cut_off_is_completed(bench: Bench) -> None:
    """Killed at any moment, a reading tells of no pin that is not there; calling again reaches what was wanted."""
    one = _declared(bench, bench.listener("web-g1", group="web-g1"))
    other, more = _pinned(one, "web-g2"), replace(one, listeners=(*one.listeners, bench.listener("web-g2")))
    caller = bench.through(one.listeners[0])
    for wanted in (other, more):
        for moment in MOMENTS:
            bench.abandon("a", wanted, moment)
            told = bench.reading().declaration
            if told is not None:
                name = "one" if told.listeners[0].group == "web-g1" else "two"
                expect("what is told is so", actual=caller.get().text.strip(), expected=name)
            bench.client().declare(wanted)
            expect("the end", actual=bench.reading().declaration, expected=wanted)
            bench.client().declare(one)
            expect("who answers", actual=caller.get().text, expected="one\n")


def check_tcp_follows_weights(bench: Bench) -> None:
    """New connections go by the weights, zero is zero; one that stands stays where it is, both ways."""
    listener = bench.listener("public", "cache")
    _tcp(bench, listener)
    old = bench.wire(listener)
    expect("who took it", actual=old.name, expected="echo1")
    bench.client().shift(TCP_NEW)
    expect("who takes new ones", actual=_took(listener), expected={"echo2": 20})
    expect("the old one", actual=[old.echo(text) for text in ("a", "b")], expected=["a", "b"])
    bench.client().shift({"cache": {"cache-g1": 800, "cache-g2": 200}})
    took = _took(listener, 1000)
    expect(f"{took} at 200 per mille", actual=abs(took["echo2"] - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5)
    until(lambda: bench.reading().counts["cache-g2"].in_flight == 0, "only one connection stands")
    counts = bench.reading().counts
    found = [(counts[g].requests, counts[g].failures, counts[g].in_flight) for g in ("cache-g1", "cache-g2")]
    expect("counts", actual=found, expected=[(1 + took["echo1"], 0, 1), (20 + took["echo2"], 0, 0)])
    bench.client().shift({"cache": {}})
    expect("without weights", actual=_took(listener, 1), expected={"": 1})
    expect("the old one", actual=old.echo("c"), expected="c")


def check_tcp_connections_go_by_the_pin(bench: Bench) -> None:
    """A pin holds for TCP too, changes without a reload, and leaves standing connections where they are."""
    declaration = _tcp(bench, bench.listener("web-g1", "cache", "cache-g2"))
    listener = declaration.listeners[0]
    expect("against the weights", actual=_took(listener), expected={"echo2": 20})
    old, loaded = bench.wire(listener), bench.loaded("a")
    bench.client().declare(_pinned(declaration, "cache-g1"))
    expect("new ones", actual=_took(listener), expected={"echo1": 20})
    expect("the old one", actual=(old.name, old.echo("a")), expected=("echo2", "a"))
    expect("nothing was reloaded", actual=bench.loaded("a"), expected=loaded)


def check_a_tcp_connection_outlives_reloads(bench: Bench) -> None:
    """A connection stands through reloads; new ones go by the newest pin from the moment `declare` returns."""
    declaration = _tcp(bench, bench.listener("web-g1", "cache", "cache-g1"))
    listener, extra = declaration.listeners[0], bench.listener("web-g2", "cache")
    wires = [bench.wire(listener)]
    for number in range(6):
        group, name = ("cache-g1", "echo1") if number % 2 else ("cache-g2", "echo2")
        more = () if number % 2 else (extra,)
        bench.client().declare(replace(declaration, listeners=(replace(listener, group=group), *more)))
        expect("new ones", actual=_took(listener), expected={name: 20})
        wires.append(bench.wire(listener))
        expect("all stand", actual=[wire.echo(str(number)) for wire in wires], expected=[str(number)] * len(wires))
    until(lambda: sum(bench.reading().in_flight.values()) == len(wires), "all are in flight, and no others")
    expect("in flight", actual=bench.reading().in_flight, expected={"echo1": 4, "echo2": 3})
    for wire in wires:
        wire.close()
    until(lambda: not sum(bench.reading().in_flight.values()), "none is in flight")


def check_a_draining_tcp_target_gets_nothing_new(bench: Bench) -> None:
    """It keeps what it has, which is told as in flight, and gets no new connection, also after a reload."""
    listener = bench.listener("public", "cache")
    group = bench.tcp_group("g1", "echo1", "echo3")
    declaration = replace(bench.declaration(group), listeners=(listener,))
    bench.client().declare(declaration)
    bench.client().shift({"cache": {"cache-g1": FULL}})
    wires = [bench.wire(listener) for _ in range(2)]
    expect("one each", actual={wire.name for wire in wires}, expected={"echo1", "echo3"})
    draining = replace(declaration, groups=(drained(group, "echo1"),))
    for wanted in (draining, replace(draining, listeners=(listener, bench.listener("web-g1", "cache")))):
        bench.client().declare(wanted)
        expect("who takes new ones", actual=_took(listener), expected={"echo3": 20})
        expect("what is told", actual=bench.reading().declaration, expected=wanted)
        until(lambda: bench.reading().in_flight == {"echo1": 1, "echo3": 1}, "one is in flight at each")
        expect("both stand", actual=[wire.echo("x") for wire in wires], expected=["x", "x"])
    next(wire for wire in wires if wire.name == "echo1").close()
    until(lambda: bench.reading().in_flight == {"echo1": 0, "echo3": 1}, "it is drained")


def check_tcp_failures_are_those_to_connect(bench: Bench) -> None:
    """An instance that can't be reached is a failure; a client or an instance that ends a connection is none."""
    listener = bench.listener("public", "cache")
    bench.client().declare(replace(bench.declaration(bench.tcp_group("g1", "fragile")), listeners=(listener,)))
    bench.client().shift({"cache": {"cache-g1": FULL}})
    _took(listener, 3)
    standing = bench.wire(listener)
    for _ in range(3):  # ends at once, with a reset
        with socket.create_connection((HOST, listener.port)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: bench.reading().counts["cache-g1"].in_flight == 1, "one stands")
    before = bench.reading().counts["cache-g1"]
    expect("no failure", actual=before.failures, expected=0)
    bench.instance("fragile").kill()
    expect("it ends with its instance", actual=standing.echo("x"), expected="")
    standing.close()
    expect("nobody is there", actual=_took(listener, 2), expected={"": 2})
    until(lambda: bench.reading().counts["cache-g1"].in_flight == 0, "none stands")
    after = bench.reading().counts["cache-g1"]
    expect("counted", actual=(after.requests - before.requests, after.failures), expected=(2, 2))


def check_a_dead_tcp_instance_leaves_traffic(bench: Bench) -> None:
    """No connection fails because one of two instances died, though nobody tells the edge."""
    listener = bench.listener("public", "cache")
    group = bench.tcp_group("g1", "echo1", "passing")
    bench.client().declare(replace(bench.declaration(group), listeners=(listener,)))
    bench.client().shift({"cache": {"cache-g1": FULL}})
    expect("both", actual=set(_took(listener)), expected={"echo1", "passing"})
    bench.instance("passing").kill()
    expect("who takes them", actual=_took(listener), expected={"echo1": 20})
    expect("failures", actual=bench.reading().counts["cache-g1"].failures, expected=0)


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    one for name, one in sorted(globals().items()) if name.startswith("check_") and callable(one)
)
