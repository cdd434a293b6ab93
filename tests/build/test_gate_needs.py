"""What a tested service needs runs with it, on real instances of the embedded engine, and is gone afterwards."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from building import need_root
from rehearsing import PYTHON, Theatre, expect, free_port

from anew import model
from anew.build.gate import check
from anew.build.gate_rehearsal import Place, Rehearsal
from anew.engines.embedded.compute import Embedded
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Actor, Order, Part, Policy, Trial, Volume

SHORT = Policy(ready=0.5, grace=1.0)
LONG = Policy(ready=60.0, grace=1.0)


@pytest.fixture
def theatre() -> Iterator[Theatre]:
    need_root()
    with tempfile.TemporaryDirectory(prefix="anew-gate-") as folder:
        Path(folder).chmod(0o755)  # instances run as another uid, and have to get there
        yield Theatre(Path(folder))


def test_a_caller_is_tested_with_what_it_calls(theatre: Theatre) -> None:
    api = theatre.kinds.service("api", "http")
    web = replace(theatre.kinds.service("web", "http", "api"), tests=(expect("web api"),))
    assert theatre.check(api, web) == {"ready, health /healthz": "", "http GET /": ""}
    assert [line for line in theatre.lines if line.startswith("web: api is ready after ")] != []


def test_the_tests_of_a_callee_are_not_run_for_its_caller(theatre: Theatre) -> None:
    api = replace(theatre.kinds.service("api", "http"), tests=(expect("nothing of the kind"),))
    assert theatre.check(api, theatre.kinds.service("web", "http", "api")) == {"ready, health /healthz": ""}


def test_a_callee_that_does_not_become_ready_closes_the_gate_by_its_name(theatre: Theatre) -> None:
    api = replace(theatre.kinds.service("api", "http", SICK="yes"), policy=SHORT)
    web = replace(theatre.kinds.service("web", "http", "api"), tests=(expect("web api"),))
    assert theatre.check(api, web) == {
        "needs api": "not ready within 0.5 s: GET /healthz: status 500, wanted 200\n  | http begins"
    }
    assert theatre.lines == ["web: needs api: not ready within 0.5 s: GET /healthz: status 500, wanted 200"]


def test_a_callee_that_ends_at_once_closes_the_gate_at_once(theatre: Theatre) -> None:
    api = replace(theatre.kinds.service("api", "http"), command=(PYTHON, "-c", "exit('no luck')"), policy=LONG)
    other = replace(theatre.kinds.service("other", "http", SICK="yes"), policy=LONG)
    began = time.monotonic()
    assert theatre.check(other, api, theatre.kinds.service("web", "http", "api", "other")) == {
        "needs api": "the instance ended: exit code 1\n  | no luck"
    }
    assert time.monotonic() - began < 10


def test_a_callee_that_ends_under_the_tests_is_named(theatre: Theatre) -> None:
    api = replace(theatre.kinds.service("api", "http"))
    ends = "import os, urllib.request as r; r.urlopen(os.environ['API_URL'] + '/end')"
    test = model.Test(run=(PYTHON, "-c", ends), eventually=20)
    began = time.monotonic()
    results = theatre.check(api, replace(theatre.kinds.service("web", "http", "api"), tests=(test,)))
    ended = "the instance ended: exit code 9\n  | http begins\n  | asked to end"
    assert results == {
        "needs api": ended,
        "ready, health /healthz": "",
        str(test): f"api, which it needs: {ended}",
    }
    assert time.monotonic() - began < 10


def test_of_several_that_ended_the_deepest_callee_is_told_as_the_cause(theatre: Theatre) -> None:
    db, api = theatre.kinds.service("db", "http"), theatre.kinds.service("api", "http", "db")
    ends = (
        "import http.client, os, urllib.request as r\n"
        "for name in ('API_URL', 'DB_URL'):\n"
        "    try: r.urlopen(os.environ[name] + '/end')\n"
        "    except http.client.RemoteDisconnected: pass\n"
        "exit(1)"
    )
    test = model.Test(run=(PYTHON, "-c", ends), eventually=20)
    results = theatre.check(db, api, replace(theatre.kinds.service("web", "http", "api", "db"), tests=(test,)))
    assert list(results) == ["needs db", "needs api", "ready, health /healthz", str(test)]
    assert results[str(test)].startswith("db, which it needs: the instance ended: exit code 9")


def test_a_callee_that_ends_before_its_caller_is_ready_is_told_too(theatre: Theatre) -> None:
    api = theatre.kinds.service("api", "http")
    ends = "import os, time, urllib.request as r\ntry: r.urlopen(os.environ['API_URL'] + '/end')\nfinally: exit('why')"
    web = replace(theatre.kinds.service("web", "http", "api"), command=(PYTHON, "-c", ends), policy=LONG)
    results = theatre.check(api, web)
    assert list(results) == ["needs api", "ready, health /healthz"]
    assert results["needs api"].startswith("the instance ended: exit code 9")
    assert results["ready, health /healthz"].startswith("the instance ended: exit code 1")


def test_a_tcp_service_is_ready_when_it_listens_and_is_called_by_host_and_port(theatre: Theatre) -> None:
    cache = theatre.kinds.service("the-cache", "tcp")
    web = replace(theatre.kinds.service("web", "http", "the-cache"), tests=(expect("web the-cache"),))
    assert theatre.check(cache, web) == {"ready, health /healthz": "", "http GET /": ""}
    assert theatre.check(cache) == {"ready, listens": ""}
    deaf = replace(theatre.kinds.service("the-cache", "worker"), is_tcp=True, policy=SHORT)
    assert theatre.check(deaf) == {
        "ready, listens": "not ready within 0.5 s: it does not listen on $PORT\n  | worker begins"
    }


def test_a_chain_of_needs_starts_from_its_end(theatre: Theatre) -> None:
    db = theatre.kinds.service("db", "tcp")
    api = theatre.kinds.service("api", "http", "db")
    web = replace(theatre.kinds.service("web", "http", "api"), tests=(expect("web api db"),))
    assert theatre.check(db, api, web) == {"ready, health /healthz": "", "http GET /": ""}
    assert [line.split(" after ")[0] for line in theatre.lines[:3]] == [
        "web: db is ready",
        "web: api is ready",
        "web: ready",
    ]


def test_two_versions_of_one_service_run_side_by_side(theatre: Theatre) -> None:
    old, new = (Part(theatre.kinds.service("db", "tcp", WORD=word), theatre.image) for word in ("old", "new"))
    api = Part(theatre.kinds.service("api", "http", "db"), theatre.image)
    web = Part(
        replace(theatre.kinds.service("web", "http", "api", "db"), tests=(expect("web api new old"),)), api.image
    )
    trial = Trial((Actor(old), Actor(new), Actor(api, (1,)), Actor(web, (2, 0))))
    results = check(theatre.engine, trial, Place(theatre.scope, "0123abcd", free_port), theatre.lines.append)
    assert results == (("ready, health /healthz", ""), ("http GET /", ""))
    theatre.assert_clear()


def test_a_worker_that_needs_something_must_stay_alive_as_long_as_it_says(theatre: Theatre) -> None:
    api = theatre.kinds.service("api", "http")
    worker = replace(theatre.kinds.service("worker", "worker", "api"), ready_after=0.3)
    test = model.Test(run=(PYTHON, "/srv/program.py", "words"))
    assert theatre.check(api, replace(worker, tests=(test,))) == {"starts": "", str(test): ""}
    tired = replace(theatre.kinds.service("worker", "worker", "api", LIVES="0.3"), ready_after=5.0)
    assert theatre.check(api, tired) == {"starts": "the instance ended: exit code 1\n  | worker begins\n  | tired"}


def test_a_job_is_not_started_and_its_tests_reach_what_it_needs(theatre: Theatre) -> None:
    api = theatre.kinds.service("api", "http")
    job = theatre.kinds.service("job", "job", "api", EXPECTED="job api")
    assert theatre.check(api, job) == {"nothing to test": ""}
    assert theatre.lines == ["job: nothing to test: passed"]
    test = model.Test(run=(PYTHON, "/srv/program.py", "words"))
    assert theatre.check(api, replace(job, tests=(test,))) == {str(test): ""}
    wrong = theatre.kinds.service("job", "job", "api", EXPECTED="something else")
    reason = theatre.check(api, replace(wrong, tests=(replace(test, eventually=2.0),)))[str(test)]
    assert reason == "exit code 1\n  | words begins\n  | job api"


def test_run_tests_have_the_environment_of_the_instance(theatre: Theatre) -> None:
    api = theatre.kinds.service("api", "http")
    asks = (
        "import os, urllib.request as r; e = os.environ;"
        "assert e['WORD'] == 'web';"
        "assert r.urlopen('http://127.0.0.1:' + e['PORT']).read() == b'web api';"
        "assert r.urlopen(e['API_URL']).read() == b'api'"
    )
    test = model.Test(run=(PYTHON, "-c", asks), eventually=1)
    results = theatre.check(api, replace(theatre.kinds.service("web", "http", "api"), tests=(test,)))
    assert results == {"ready, health /healthz": "", str(test): ""}


def test_secrets_are_made_up_and_the_same_for_all(theatre: Theatre) -> None:
    api = replace(theatre.kinds.service("api", "http"), secrets=("password",))
    asks = (
        "import os, re, urllib.request as r; own = open('/run/secrets/password').read();"
        "assert re.fullmatch('[0-9a-f]{64}', own);"
        "assert r.urlopen(os.environ['API_URL']).read() == b'api password=' + own.encode()"
    )
    test = model.Test(run=(PYTHON, "-c", asks), eventually=1)
    web = replace(theatre.kinds.service("web", "http", "api"), secrets=("password",), tests=(test,))
    assert theatre.check(api, web) == {"ready, health /healthz": "", str(test): ""}


def test_volumes_are_only_writable_places(theatre: Theatre) -> None:
    writes = "import sys; open('/data/x', 'x').write('y'); import time; time.sleep(600)"
    db = replace(
        theatre.kinds.service("db", "worker"),
        command=(PYTHON, "-c", writes, theatre.kinds.mark),
        volumes=(Volume("data", "/data"),),
    )
    for writable in ((), ("/data",)):
        assert theatre.check(replace(db, writable=writable)) == {"starts": ""}
    assert not (theatre.project.home / "volumes").exists()


def test_a_port_that_is_taken_meanwhile_is_not_told_to_the_caller(theatre: Theatre) -> None:
    engine, held = theatre.engine, free_port()
    trial = theatre.trial(theatre.kinds.service("api", "http"), theatre.kinds.service("web", "http", "api"))
    other = Rehearsal(
        engine, theatre.trial(theatre.kinds.service("other", "tcp")), place(theatre, "other", held), print
    )
    assert other.start() == {}
    ports = iter([held, free_port(), free_port()])
    try:
        tested = replace(trial.tested.service, tests=(expect("web api"),))
        trial = Trial((trial.actors[0], Actor(Part(tested, theatre.image), (0,))))
        place_ = Place(theatre.scope, "0123abcd", lambda: next(ports))
        assert [why for _, why in check(engine, trial, place_, theatre.lines.append)] == ["", ""]
    finally:
        other.stop()
    theatre.assert_clear()


def place(theatre: Theatre, serial: str, port: int) -> Place:
    return Place(theatre.scope, serial, lambda: port)


def test_what_an_engine_refuses_leaves_nothing_behind(theatre: Theatre) -> None:
    api = theatre.trial(theatre.kinds.service("api", "http")).actors[0]
    missing = replace(theatre.image, layers=("sha256:" + "0" * 64,))
    web = Actor(Part(theatre.kinds.service("web", "http", "api"), missing), (0,))
    with pytest.raises(NotFound):
        check(theatre.engine, Trial((api, web)), Place(theatre.scope, "0123abcd", free_port), theatre.lines.append)
    theatre.assert_clear()


def test_an_instance_whose_launch_lost_its_reply_is_ended_too(theatre: Theatre) -> None:
    class Lossy(Embedded):
        def launch(self, order: Order) -> None:
            super().launch(order)
            raise EngineError("the reply was lost")

    theatre.engine = Lossy(theatre.project.home, theatre.project.store.tree, "tests")
    with pytest.raises(EngineError):
        theatre.check(theatre.kinds.service("web", "http"))
    theatre.assert_clear()


def test_no_free_port_leaves_nothing_behind(theatre: Theatre) -> None:
    def none() -> int:
        raise Conflict("no port is free")

    trial = theatre.trial(theatre.kinds.service("worker", "worker"), theatre.kinds.service("web", "http"))
    with pytest.raises(Conflict):
        check(theatre.engine, trial, Place(theatre.scope, "0123abcd", none), theatre.lines.append)
    theatre.assert_clear()


def test_who_stops_waiting_ends_everything(theatre: Theatre) -> None:
    """A line of progress that raises stands for ^C: it comes while another instance is waited for."""
    api = theatre.kinds.service("api", "http")
    sick = replace(theatre.kinds.service("sick", "http", SICK="yes"), policy=LONG)
    trial = theatre.trial(api, sick, theatre.kinds.service("web", "http", "api", "sick"))

    def interrupted(_line: str) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        check(theatre.engine, trial, Place(theatre.scope, "0123abcd", free_port), interrupted)
    assert time.monotonic() - began < 10
    theatre.assert_clear()


def test_trials_of_one_service_do_not_meet(theatre: Theatre) -> None:
    web = replace(theatre.kinds.service("web", "http", "api"), tests=(expect("web api"),))
    trial = theatre.trial(theatre.kinds.service("api", "http"), web)
    results: list[object] = []

    def run(serial: str) -> None:
        results.append(check(theatre.engine, trial, Place(theatre.scope, serial, free_port), theatre.lines.append))

    threads = [threading.Thread(target=run, args=(f"{n:08x}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(("ready, health /healthz", ""), ("http GET /", ""))] * 3
    theatre.assert_clear()
