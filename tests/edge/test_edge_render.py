from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew.core.names import is_label
from anew.edge import buckets, render
from anew.edge.checks import check
from anew.edge.find import Haproxy
from anew.edge.listeners import PINS
from anew.edge.render import Limits, Sockets
from anew.edge.saved import Saved
from anew.edge.section import SWITCH
from anew.edge.slots import Slots, all_assigned, assigned
from anew.errors import NotFound, SpecError
from anew.model import FULL, Declaration, EdgeGroup, Listener, Route, Target

LIMITS = Limits(1000, 2)
SOCKETS = Sockets.of(Path("/x"))
GROUP = EdgeGroup("web-g1", "web", "/health", (Target("a", 9001),), "g1.web.internal")
CACHE = EdgeGroup("cache-g1", "cache", "", (Target("c", 9002),), "g1.cache.internal", is_tcp=True)
LISTENER = Listener("shop-g1>web", "web", 8082)
TCP = Listener("shop-g1>cache", "cache", 8083, is_tcp=True)


def declaration(*groups: EdgeGroup, routes: tuple[Route, ...] = (Route("web.example", "web"),)) -> Declaration:
    return Declaration("127.0.0.1", 8080, 8081, routes, groups)


def heard(*listeners: Listener) -> Declaration:
    return replace(declaration(GROUP, CACHE), listeners=listeners)


def structure(wanted: Declaration, before: dict[str, Slots] | None = None) -> str:
    return render.structure(wanted, all_assigned(before or {}, wanted.groups), SOCKETS, LIMITS)


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    cuts = sorted(draw(st.lists(st.integers(0, FULL), max_size=3)))
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, FULL], strict=True)]
    return {f"g{number}": share for number, share in enumerate(draw(st.permutations(shares)))}


@given(st.lists(weights(), min_size=1, max_size=6))
def test_a_change_of_weight_moves_exactly_as_many_buckets(history: list[dict[str, int]]) -> None:
    ones = buckets.EMPTY
    before: dict[str, int] = {}
    for wanted in history:
        new = buckets.moved(ones, wanted)
        moves = sum(a != b for a, b in zip(ones, new, strict=True))
        assert max(sum(max(0, wanted[g] - before.get(g, 0)) for g in wanted), 0) == moves
        assert {g: w for g, w in wanted.items() if w} == buckets.weights_of(new)
        assert new == buckets.parsed(line.split() for line in buckets.lines(new))
        ones, before = new, wanted


def test_a_bucket_changes_sides_once_while_a_weight_grows() -> None:
    ones = buckets.moved(buckets.EMPTY, {"old": FULL})
    taken: set[int] = set()
    for weight in (10, 100, 500, FULL):
        ones = buckets.moved(ones, {"new": weight, "old": FULL - weight})
        has = {number for number, group in enumerate(ones) if group == "new"}
        assert taken <= has
        taken = has
    assert set(range(FULL)) == taken


def test_weights_that_do_not_sum_to_a_thousand_are_refused() -> None:
    for wanted in ({"a": 999}, {"a": 1001, "b": -1}):
        with pytest.raises(ValueError, match="sum"):
            buckets.moved(buckets.EMPTY, wanted)


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), unique=True, max_size=12), max_size=8))
def test_a_target_keeps_its_slot_and_slots_never_shrink(history: list[list[str]]) -> None:
    slots: Slots | None = None
    for names in history:
        new = assigned(slots, [Target(name, 1) for name in names])
        assert set(names) == set(new.taken)
        assert len(names) == len(set(new.taken.values()))
        assert all(0 <= slot < new.count for slot in new.taken.values())
        if slots is not None:
            assert new.count >= slots.count
            assert all(new.taken[n] == slots.taken[n] for n in names if n in slots.taken)
        slots = new


def test_targets_are_no_part_of_the_structure_and_everything_else_is() -> None:
    plain = declaration(GROUP)
    same = declaration(EdgeGroup("web-g1", "web", "/health", (Target("b", 9002, is_draining=True),), "g1.web.internal"))
    assert structure(plain) == structure(same)
    others = [
        declaration(GROUP, EdgeGroup("web-g2", "web", "/health")),
        declaration(GROUP, routes=()),
        declaration(GROUP, routes=(Route("*", "web"),)),
        declaration(EdgeGroup("web-g1", "web", "/other", (), "g1.web.internal")),
        declaration(EdgeGroup("web-g1", "web", "/health", (), "g2.web.internal")),
        Declaration("127.0.0.1", 8082, 8081, plain.routes, plain.groups),
        Declaration("127.0.0.1", 8080, 8082, plain.routes, plain.groups),
        declaration(
            EdgeGroup("web-g1", "web", "/health", tuple(Target(f"t{n}", n) for n in range(9)), "g1.web.internal")
        ),
    ]
    others += [replace(plain, sticky=(("web", how),)) for how in ("cookie", "address", "header:X-User", "header:X-Id")]
    assert len(others) + 1 == len({structure(one) for one in [plain, *others]})


def test_pins_are_no_part_of_the_structure_and_listeners_are() -> None:
    pinned = replace(LISTENER, group="web-g1"), replace(TCP, group="cache-g1")
    assert structure(heard(LISTENER, TCP)) == structure(heard(*pinned))
    others = [
        heard(),
        heard(LISTENER),
        heard(replace(LISTENER, port=8084), TCP),
        heard(replace(LISTENER, host="127.0.0.2"), TCP),
        heard(replace(LISTENER, name="shop-g2>web"), TCP),
        heard(replace(LISTENER, service="api"), TCP),
        heard(LISTENER, replace(TCP, host="0.0.0.0")),
    ]
    assert len(others) + 1 == len({structure(one) for one in [heard(LISTENER, TCP), *others]})


def test_a_tcp_connection_may_be_silent_for_more_than_an_hour_and_no_time_ends_an_old_worker() -> None:
    text = render.config(heard(TCP), all_assigned({}, (GROUP, CACHE)), SOCKETS, LIMITS)
    timeouts = dict(re.findall(r"timeout (client|server|tunnel) (\S+)\n", text.split("mode tcp")[1]))
    assert timeouts == {"client": "24d", "server": "24d", "tunnel": "24d"}
    assert "hard-stop-after" not in text


def test_no_service_has_a_map_of_ours() -> None:
    for name in (SWITCH, PINS):
        assert not is_label(name.removesuffix(".map"))


@pytest.mark.parametrize(
    "wrong",
    [
        declaration(EdgeGroup("web-g1", "web", "/a b")),
        declaration(EdgeGroup("web-g1", "web", "/a'\nbackend x")),
        declaration(EdgeGroup("web_g1", "web", "/")),
        declaration(EdgeGroup("web-g1", "web\n", "/")),
        declaration(EdgeGroup("web-g1", "web", "/", (), "a b")),
        declaration(GROUP, GROUP),
        declaration(GROUP, routes=(Route("a } b", "web"),)),
        declaration(GROUP, routes=(Route("a", "web"), Route("a", "web"))),
        Declaration("0.0.0.0:1 bind :2", 80, 81),
        heard(replace(LISTENER, name="a b")),
        heard(replace(LISTENER, name="a\n")),
        heard(replace(LISTENER, name=">web")),
        heard(replace(LISTENER, host="a b")),
        heard(replace(LISTENER, service="a b")),
        heard(replace(LISTENER, port=0)),
        heard(replace(LISTENER, port=65_536)),
        heard(replace(LISTENER, port=8080)),
        heard(replace(LISTENER, port=8081)),
        heard(LISTENER, replace(TCP, port=LISTENER.port)),
        heard(LISTENER, replace(LISTENER, port=8085)),
        heard(replace(LISTENER, is_tcp=True)),
        heard(replace(TCP, is_tcp=False)),
        declaration(GROUP, replace(CACHE, service="web")),
        declaration(GROUP, replace(CACHE, health="/")),
        declaration(CACHE, routes=(Route("cache.example", "cache"),)),
        replace(declaration(GROUP), sticky=(("web", "header:a } b"),)),
        replace(declaration(GROUP), sticky=(("web", "cookie\n"),)),
        replace(declaration(GROUP), sticky=(("web", "cookie"), ("web", "address"))),
        replace(declaration(CACHE), sticky=(("cache", "cookie"),)),
    ],
)
def test_what_would_change_the_meaning_of_a_configuration_is_refused(wrong: Declaration) -> None:
    with pytest.raises(SpecError):
        check(wrong)


@pytest.mark.parametrize("group", ["web-g2", "cache-g1"])
def test_a_pin_to_a_group_that_its_service_lacks_is_refused(group: str) -> None:
    with pytest.raises(NotFound, match=f"shop-g1>web.*{group}"):
        check(heard(replace(LISTENER, group=group)))


def test_haproxy_accepts_what_is_rendered(haproxy: Haproxy, tmp_path: Path) -> None:
    routes = (Route("Shop.example.com", "web"), Route("*", "api"), Route("nobody.example", "none"))
    groups = (GROUP, EdgeGroup("api-g1", "api", "/health?full=1&x=%20", (Target("b", 1, is_draining=True),)))
    many = [Listener(f"many-g{n}>{s}", s, 9000 + 2 * n + (s == "web")) for n in range(80) for s in ("web", "nobody")]
    mixed = heard(LISTENER, TCP, *many, Listener("public>cache", "cache", 7000, "::", "cache-g1", is_tcp=True))
    for wanted in (
        declaration(*groups, routes=routes),
        declaration(routes=()),
        Declaration("::1", 8080, 0),
        declaration(CACHE),
        replace(declaration(), listeners=(LISTENER, TCP)),
        mixed,
        *(
            replace(mixed, sticky=(("web", how), ("cache", "address")))
            for how in ("cookie", "address", "header:X-User")
        ),
    ):
        check(wanted)
        Saved(tmp_path).add_maps(wanted)
        text = render.config(wanted, all_assigned({}, wanted.groups), SOCKETS, LIMITS)
        (tmp_path / "haproxy.cfg").write_text(text)
        done = subprocess.run(
            [haproxy.path, "-c", "-f", tmp_path / "haproxy.cfg"],
            env=haproxy.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "".join(line for line in done.stderr.splitlines() if "WARNING" in line)) == (0, "")
