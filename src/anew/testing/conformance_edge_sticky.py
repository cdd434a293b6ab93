"""PUBLIC: what every edge must do where a service's clients stay on one side; see `conformance_edge`."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from http.cookies import SimpleCookie

from anew.errors import SpecError
from anew.model import FULL, Declaration, Listener
from anew.testing.conformance import expect, expect_error
from anew.testing.conformance_edge_bench import HOST, Answer, Bench, Caller, held

WEIGHTS = (10, 100, 250, 500, 980, FULL)
MANY = 20_000
CALLERS = 8
HEADER = "header:X-User"


def _sticky(bench: Bench, how: str) -> Declaration:
    """Declare two groups with all traffic on the first, and clients of the service that are known by `how`."""
    groups = bench.group("g1", "one"), bench.group("g2", "two")
    declaration = replace(bench.declaration(*groups), sticky=(("web", how),))
    bench.client().declare(declaration)
    _shift(bench, 0)
    return declaration


def _shift(bench: Bench, weight: int) -> None:
    bench.client().shift({"web": {"web-g2": weight, "web-g1": FULL - weight}})


def _sides(caller: Caller, users: Iterable[str]) -> dict[str, str]:
    return {user: caller.get(X_User=user).text.strip() for user in users}


def check_a_client_stays_while_weights_grow(bench: Bench) -> None:
    """Who is known by a header moves to the new group once, and back once, whatever reloads and connections come."""
    declaration = _sticky(bench, HEADER)
    users = [f"user {number}" for number in range(100)]
    before: set[str] = set()
    extra = bench.listener("shop-g1")
    for number, weight in enumerate(WEIGHTS):
        _shift(bench, weight)
        if number % 2:
            bench.client().declare(replace(declaration, listeners=(extra,) if number % 4 == 1 else ()))
        sides = [_sides(caller, users) for caller in (bench.caller(), bench.caller(), bench.caller())]
        expect("each request of a client goes to one side", actual=sides[1:], expected=sides[:1] * 2)
        moved = {user for user, side in sides[0].items() if side == "two"}
        expect("who has moved stays", actual=before - moved, expected=set())
        before = moved
    expect("all have moved", actual=len(before), expected=len(users))
    _shift(bench, 0)
    expect("all are back", actual=set(_sides(bench.caller(), users).values()), expected={"one"})


def check_many_clients_are_spread_by_the_weights(bench: Bench) -> None:
    """Of 20,000 clients, a group has as many as its weight says, within half a percentage point."""
    _sticky(bench, HEADER)
    _shift(bench, 100)
    has: list[int] = []

    def spread(part: int) -> None:
        with contextlib.closing(bench.caller()) as caller:
            has.append(sum(caller.get(X_User=f"u{one}").text == "two\n" for one in range(part, MANY, CALLERS)))

    threads = [threading.Thread(target=spread, args=(part,), daemon=True) for part in range(CALLERS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    expect("all have asked", actual=len(has), expected=CALLERS)
    expect(f"{sum(has)} of {MANY} at 100 per mille", actual=abs(sum(has) / MANY - 0.1) <= 0.005)


def check_who_says_nothing_is_drawn(bench: Bench) -> None:
    """A request without the header, or with an empty one, is drawn for itself; the answer gives it no cookie."""
    _sticky(bench, HEADER)
    _shift(bench, 500)
    caller = bench.caller()
    for headers in ({}, {"X_User": ""}):
        answers = [caller.get("/", **headers) for _ in range(60)]
        expect("who answers", actual={one.text for one in answers}, expected={"one\n", "two\n"})
        expect("a cookie", actual=any("set-cookie" in one.headers for one in answers), expected=False)


def _given(answer: Answer) -> str:
    """Return the cookie that an answer gives; "" if it gives none."""
    said = answer.headers.get("set-cookie", "")
    if not said:
        return ""
    expect(
        "what the cookie may", actual=re.findall(r"; *([^;]+)", said), expected=["Path=/", "HttpOnly", "SameSite=Lax"]
    )
    expect("its name", actual=list(SimpleCookie(said)), expected=["anew-web"])
    return said.partition(";")[0]


def check_a_cookie_keeps_a_client(bench: Bench) -> None:
    """Who has no cookie is given one, that keeps it on the side of that answer; who has one is given none, ever."""
    _sticky(bench, "cookie")
    _shift(bench, 500)
    caller, sides = bench.caller(), {}
    for path in ("/",) * 40:
        answer = caller.get(path)
        sides[_given(answer)] = answer.text
    expect("ids are given once", actual=(len(sides), "" in sides), expected=(40, False))
    expect("both sides", actual=set(sides.values()), expected={"one\n", "two\n"})
    expect("a failure gives one too", actual=bool(_given(caller.get("/fail"))))
    for weight in (500, 700, 990):
        _shift(bench, weight)
        for cookie, side in sides.items():
            answers = [caller.get(Cookie=f"a=b; {cookie}; c=d") for _ in range(2)]
            expect("none is given again", actual=[_given(one) for one in answers], expected=["", ""])
            expect("it stays", actual=answers[0].text, expected=answers[1].text)
            if side == "two\n":
                expect("who has moved stays", actual=answers[0].text, expected=side)
            sides[cookie] = answers[0].text


def check_a_junk_cookie_does_no_harm(bench: Bench) -> None:
    """Whatever a client puts into its cookie, it is served, on one side; an empty one is none."""
    _sticky(bench, "cookie")
    _shift(bench, 500)
    caller = bench.caller()
    for junk in ("x", '"', "a,b", "%0d%0aX: y", "\xff\xfe", "$(id)", "=" * 50, "y" * 4000):
        answers = [caller.get(Cookie=f"anew-web={junk}") for _ in range(5)]
        expect("it is served", actual={one.status for one in answers}, expected={200})
        expect("on one side", actual=len({one.text for one in answers}), expected=1)
    expect("an empty one is none", actual=bool(_given(caller.get(Cookie="anew-web="))))


def check_an_old_connection_has_the_same_side(bench: Bench) -> None:
    """A request on a connection from before a reload goes where all others of its client go, and gets its cookie."""
    declaration = _sticky(bench, "cookie")
    _shift(bench, 500)
    old = [bench.caller() for _ in range(8)]
    cookies = [_given(caller.get()) for caller in old]
    with held(bench.caller()):
        bench.client().declare(replace(declaration, listeners=(bench.listener("shop-g1"),)))
        _shift(bench, 600)
        for caller, cookie in zip(old[:4], cookies, strict=False):
            answer = caller.get(Cookie=cookie)
            expect("one side", actual=answer.text, expected=bench.caller().get(Cookie=cookie).text)
        for caller in old[4:]:
            answer = caller.get()
            expect("its side", actual=bench.caller().get(Cookie=_given(answer)).text, expected=answer.text)


def check_an_address_keeps_a_client(bench: Bench) -> None:
    """All connections from one address go to one side; what a proxy on this machine says of its client is believed."""
    declaration = _sticky(bench, "address")
    door = bench.listener("shop-g1")
    bench.client().declare(replace(declaration, listeners=(door,)))
    _shift(bench, 500)
    many = [[bench.caller() for _ in range(20)], [bench.through(door) for _ in range(20)]]
    expect("one side", actual=[len({one.get().text for one in ones}) for ones in many], expected=[1, 1])
    callers = bench.caller(), bench.through(door)
    addresses = [f"192.0.2.{number}" for number in range(60)] + [f"2001:db8::{number:x}" for number in range(60)]
    sides = [{one: caller.get(X_Forwarded_For=f"9.9.9.9, {one}").text for one in addresses} for caller in callers]
    expect("both listeners draw the same", actual=sides[1], expected=sides[0])
    for part in (addresses[:60], addresses[60:]):
        expect("both sides", actual={sides[0][one] for one in part}, expected={"one\n", "two\n"})
    junk = {callers[0].get(X_Forwarded_For="nobody").status for _ in range(10)}
    expect("junk is served", actual=junk, expected={200})


def check_an_address_keeps_a_tcp_client(bench: Bench) -> None:
    """Connections from one address to a TCP service go to one side, and addresses that moved stay."""
    listener = bench.listener("public", "cache")
    groups = bench.tcp_group("g1", "echo1"), bench.tcp_group("g2", "echo2")
    declaration = replace(bench.declaration(*groups), listeners=(listener,), sticky=(("cache", "address"),))
    bench.client().declare(declaration)
    before: set[str] = set()
    for weight in (300, 500, 700):
        bench.client().shift({"cache": {"cache-g2": weight, "cache-g1": FULL - weight}})
        names = {
            f"127.0.0.{number}": {_who(listener, f"127.0.0.{number}") for _ in range(2)} for number in range(2, 62)
        }
        expect("one side", actual=[one for one in names.values() if len(one) > 1], expected=[])
        moved = {address for address, name in names.items() if name == {"echo2"}}
        expect("who has moved stays", actual=before - moved, expected=set())
        expect("some are on each side", actual=0 < len(moved) < len(names))
        before = moved


def _who(listener: Listener, address: str) -> str:
    with socket.create_connection((HOST, listener.port), 10, (address, 0)) as one:
        return one.makefile("rb").readline().decode().strip()


def check_what_clients_can_not_be_known_by_is_refused(bench: Bench) -> None:
    """A TCP service has no cookies and no headers, and nobody has other ways."""
    groups = bench.group("g1", "one"), bench.tcp_group("g1", "echo1")
    for service, how in (("cache", "cookie"), ("cache", HEADER), ("web", "header:a b"), ("web", "face")):
        refused = replace(bench.declaration(*groups), sticky=((service, how),))
        expect_error(SpecError, lambda refused=refused: bench.client().declare(refused), f"{service} by {how}")  # type: ignore[misc]


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    one for name, one in sorted(globals().items()) if name.startswith("check_") and callable(one)
)
