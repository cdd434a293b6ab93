"""An edge whose program is replaced while it serves: another HAProxy of this machine, or another image."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from anew.edge import find as finding
from anew.edge import process, render
from anew.edge.find import Haproxy, find
from anew.edge.program import LocalProgram
from anew.edge.render import Sockets
from anew.edge.runs import Run, Runs
from anew.edge.runtime import HaproxyEdge
from anew.edge.saved import State
from anew.edge.slots import all_assigned
from anew.edge.sockets import Master
from anew.errors import EngineError
from anew.model import Declaration
from anew.testing.conformance_edge_bench import Answer, Bench, held, until
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess

import docker_bench  # isort: skip
from edge_bench import haproxy_bench  # isort: skip

ALL = {"web": {"web-g1": 1000}, "cache": {"cache-g1": 1000}}
MOMENTS = (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45)


def other(folder: Path) -> Haproxy:
    """Return a second HAProxy: the packaged one, or else a copy of the only one that there is."""
    first, packaged = find(), finding._packaged()
    if packaged is not None and packaged / "haproxy" != first.path:
        return finding._known(packaged / "haproxy", str(packaged / "lib"))
    copy = folder / "haproxy"
    if not copy.exists():
        shutil.copy(first.path, copy.with_suffix(".new"))
        copy.with_suffix(".new").replace(copy)
    return Haproxy(copy, first.version, first.libraries)


def switchable(folder: Path, scope: str) -> HaproxyEdge:
    """Return a client of an edge that runs from the second program once that is wished for."""
    wished = (folder / scope / docker_bench.OTHER).exists()
    program = LocalProgram(lambda: other(folder)) if wished else LocalProgram()
    return HaproxyEdge(folder / scope / "edge", folder / scope / "s", program)


@dataclass
class World:
    """An edge, and the wish from which of two programs it runs."""

    bench: Bench
    folder: Path
    is_contained: bool

    @property
    def runs(self) -> Runs:
        return Runs(self.folder / "a" / "s")

    def wish(self, *, other: bool) -> None:
        wish = self.folder / "a" / docker_bench.OTHER
        wish.parent.mkdir(exist_ok=True)
        wish.touch()
        if not other:
            wish.unlink()

    def running(self) -> tuple[int, ...]:
        return process.ours(self.folder / "a" / "edge" / "haproxy.cfg")

    def containers(self) -> list[str]:
        return sorted(docker_bench.containers(self.folder, "a")) if self.is_contained else []


def moving(folder: Path, scope: str) -> HaproxyEdge:
    """Return a client of an edge that runs on this machine, and in a container once the other program is wished for."""
    is_local = not (folder / scope / docker_bench.OTHER).exists()
    program = LocalProgram() if is_local else docker_bench.program(folder, scope)
    return HaproxyEdge(folder / scope / "edge", folder / scope / "s", program)


@contextlib.contextmanager
def made(make: Callable[[Path, str], HaproxyEdge]) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="anew-edge-"))
    one = World(haproxy_bench(folder, make), folder, make is docker_bench.contained)
    one.wish(other=False)
    yield one
    one.bench.end()
    shutil.rmtree(folder)


@pytest.fixture(params=["local", "docker"])
def world(request: pytest.FixtureRequest, haproxy: Haproxy) -> Iterator[World]:
    if request.param == "docker":
        request.getfixturevalue("engine")
    with made(docker_bench.contained if request.param == "docker" else switchable) as one:
        yield one


@pytest.fixture
def on_this_machine(haproxy: Haproxy) -> Iterator[World]:
    with made(switchable) as one:
        yield one


@pytest.fixture
def between(haproxy: Haproxy, engine: None) -> Iterator[World]:
    with made(moving) as one:
        yield one


def serving(world: World) -> Declaration:
    bench = world.bench
    listener = bench.listener("public", "cache")
    groups = bench.group("g1", "one"), bench.group("g2", "two"), bench.tcp_group("g1", "echo1")
    declaration = replace(bench.declaration(*groups), listeners=(listener,))
    bench.client().declare(declaration)
    bench.client().shift(ALL)
    return declaration


def load(world: World, **more: float) -> LoadProcess:
    port = world.bench.places["a"][0]
    return LoadProcess(Load(port, header="web.example", slow_path="/hold?s=1.5", keep_alive=6, slow=3, **more))  # type: ignore[arg-type]


def test_nothing_is_lost_when_the_program_is_replaced(world: World) -> None:
    declaration = serving(world)
    bench, before = world.bench, world.runs.current()
    wire = bench.wire(declaration.listeners[0])
    with load(world) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        for number in range(3):
            world.wish(other=number % 2 == 0)
            bench.client().declare(declaration)
            assert wire.echo(f"{number}") == f"{number}"
            seen = requests.figures().answered
            until(lambda seen=seen: requests.figures().answered > seen + 100, "it goes on")  # type: ignore[misc]
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    assert world.runs.current().number == before.number + 3
    reading = bench.reading()
    assert reading.declaration == declaration
    assert reading.counts["cache-g1"].in_flight == 1
    assert reading.counts["web-g1"].requests == figures.answered
    wire.close()
    until(lambda: len(world.running()) == 2, "the old ones have ended")
    bench.client().declare(declaration)
    assert world.runs.others() == ()
    until(lambda: len(world.containers()) == world.is_contained, "so have their containers")
    assert bench.get().text == "one\n"


def test_what_runs_is_renewed_though_nothing_else_changes(world: World) -> None:
    declaration = serving(world)
    edge = world.bench.edge("a")
    assert isinstance(edge, HaproxyEdge)
    assert not edge.renew()
    with load(world) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        world.wish(other=True)
        edge = world.bench.edge("a")
        assert isinstance(edge, HaproxyEdge)
        assert (edge.renew(), edge.renew()) == (True, False)
        seen = requests.figures().answered
        until(lambda: requests.figures().answered > seen + 100, "it goes on")
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    reading = world.bench.reading()
    assert (reading.declaration, reading.weights) == (declaration, ALL)
    edge.stop()
    assert not edge.renew()


def test_a_held_request_outlives_its_program_and_is_counted(world: World) -> None:
    declaration = serving(world)
    bench = world.bench
    with held(bench.caller()) as outcome:
        until(lambda: bench.reading().in_flight["one"] == 1, "the request is in flight")
        world.wish(other=True)
        bench.client().declare(declaration)
        reading = bench.reading()
        assert (reading.in_flight["one"], reading.counts["web-g1"].in_flight) == (1, 1)
        assert set(world.running()) == set(reading.pids)
        assert len(reading.pids) == 4
    assert [one.text if isinstance(one, Answer) else one for one in outcome] == ["one\n"]
    until(lambda: len(world.running()) == 2, "the old one has ended")
    assert bench.reading().in_flight["one"] == 0


def test_weights_hold_on_old_connections_of_the_old_program(world: World) -> None:
    declaration = serving(world)
    bench = world.bench
    callers = [bench.caller() for _ in range(4)]
    assert {caller.get().text for caller in callers} == {"one\n"}
    with held(bench.caller()):  # so that the old worker stays
        until(lambda: bench.reading().in_flight["one"] == 1, "the request is in flight")
        world.wish(other=True)
        bench.client().declare(declaration)
        bench.client().shift({**ALL, "web": {"web-g2": 1000}})
        assert {caller.get().text for caller in callers} == {"two\n"}
        groups = (*declaration.groups, bench.group("g3", "three"))
        bench.client().declare(replace(declaration, groups=groups))
        bench.client().shift({**ALL, "web": {"web-g3": 1000}})
        assert {caller.get().text for caller in callers} == {"three\n"}
    assert bench.get().text == "three\n"


def test_another_structure_and_another_program_come_at_once(world: World) -> None:
    declaration = serving(world)
    bench = world.bench
    wanted = replace(declaration, groups=(*declaration.groups, bench.group("g3", "three")))
    world.wish(other=True)
    bench.client().declare(wanted)
    assert bench.reading().declaration == wanted
    bench.client().shift({**ALL, "web": {"web-g3": 1000}})
    assert bench.get().text == "three\n"
    assert world.runs.current().number == 2


def test_a_hand_over_that_was_cut_off_is_completed(world: World) -> None:
    declaration = serving(world)
    bench = world.bench
    is_other = False
    with load(world) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        for moment in MOMENTS:
            is_other = not is_other
            world.wish(other=is_other)
            bench.abandon("a", declaration, moment)
            bench.client().declare(declaration)
            wished = bench.edge("a")
            assert isinstance(wished, HaproxyEdge)
            assert not wished._is_other_program()
            assert bench.reading().declaration == declaration
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    until(lambda: len(world.running()) == 2, "only one is left")
    bench.client().declare(declaration)
    until(lambda: len(world.containers()) == world.is_contained, "so have their containers")
    assert bench.reading().counts["web-g1"].requests == figures.answered


def test_the_newest_of_two_programs_dies_and_all_comes_back(world: World) -> None:
    declaration = serving(world)
    bench = world.bench
    wire = bench.wire(declaration.listeners[0])
    world.wish(other=True)
    bench.client().declare(declaration)
    for pid in process.ours(world.folder / "a" / "edge" / "haproxy.cfg", world.runs.current().path):
        with suppress(ProcessLookupError):  # a container ends all at once
            os.kill(pid, 9)
    until(lambda: not bench.reading().is_up, "it is down")
    bench.client().declare(declaration)
    assert bench.get().text == "one\n"
    assert bench.reading().weights == ALL
    wire.close()


@pytest.mark.parametrize("broken", ["exit 1", 'case "$1" in -c) exit 0;; esac; exit 1'], ids=["checks", "starts"])
def test_what_ran_goes_on_if_the_other_program_does_not_work(on_this_machine: World, broken: str) -> None:
    declaration = serving(on_this_machine)
    bench, program = on_this_machine.bench, on_this_machine.folder / "broken"
    program.write_text(f"#!/bin/sh\n{broken}\n")
    program.chmod(0o755)
    other = LocalProgram(lambda: Haproxy(program, (9, 9)))
    edge = HaproxyEdge(on_this_machine.folder / "a" / "edge", on_this_machine.folder / "a" / "s", other)
    with load(on_this_machine) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        with pytest.raises(EngineError, match=r"HAProxy (refuses|does not start)"):
            edge.declare(replace(declaration, groups=declaration.groups[:1], listeners=()))
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    assert bench.reading().declaration == declaration
    bench.client().declare(declaration)
    assert on_this_machine.runs.current().number == 1
    assert len(on_this_machine.running()) == 2


def test_an_edge_of_this_machine_is_handed_over_to_a_container_and_back(between: World) -> None:
    declaration = serving(between)
    bench = between.bench
    wire = bench.wire(declaration.listeners[0])
    with load(between) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        for is_other in (True, False):
            between.wish(other=is_other)
            bench.client().declare(declaration)
            assert wire.echo("x") == "x"
            assert len(docker_bench.containers(between.folder, "a")) == 1
            seen = requests.figures().answered
            until(lambda seen=seen: requests.figures().answered > seen + 100, "it goes on")  # type: ignore[misc]
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    assert bench.reading().counts["web-g1"].requests == figures.answered
    wire.close()
    container = docker_bench.program(between.folder, "a")

    def is_gone() -> bool:
        container.clear()
        return not docker_bench.containers(between.folder, "a")

    until(is_gone, "the container has ended")


def test_an_edge_from_before_hand_overs_is_handed_over(on_this_machine: World) -> None:
    """Its master's socket had the name of the link, and it handed out nothing."""
    world = on_this_machine
    declaration = serving(world)
    bench, runs = world.bench, world.runs
    bench.client().stop()
    state_of = bench.edge("a")
    assert isinstance(state_of, HaproxyEdge)
    as_before(state_of, declaration)
    assert runs.current() == Run(0, "", runs.link)
    wire = bench.wire(declaration.listeners[0])
    with load(world) as requests:
        until(lambda: requests.figures().answered > 100, "load is under way")
        bench.client().declare(declaration)
        figures = requests.stop()
    assert (figures.dropped, figures.by_status) == (0, {"200": figures.answered}), figures.drops
    assert runs.current().number == 1
    assert wire.echo("x") == "x"
    wire.close()
    until(lambda: len(world.running()) == 2, "the old one has ended")


def as_before(edge: HaproxyEdge, declaration: Declaration) -> None:
    """Start an edge as it was done before: a master that is no run, with a configuration that hands out nothing."""
    sockets = Sockets.of(edge._folder)
    slots = all_assigned({}, declaration.groups)
    state = State(declaration, slots, render.structure(declaration, slots, sockets, edge._limits))
    edge._runs.folder.mkdir(exist_ok=True)
    edge._saved.add_maps(declaration)
    edge._saved.config.write_text(render.config(declaration, slots, sockets, edge._limits))
    launch = process.Launch("0", edge._saved.config, edge._runs.link)
    process.start(LocalProgram(), launch, lambda: edge._serves(state))
    edge._saved.keep(state)
    edge.shift(ALL)
    assert Master(edge._runs.link).current()
