"""A market of five services, released ten times under load; then one whose worker alone is bad.

``script/prove market [--releases N] [--seed S]``: gateway and catalogue change with every release, and a gateway reads
only the prices of a catalogue of its own version, so one request that crosses versions within a rollout is a wrong
answer. All orders are counted by the workers, none may be lost or forged.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from subjects import market

from anew.errors import AnewError
from anew.testing.rig import Rig, rig, show

TOTAL = 1360
CALLERS = 6
PAUSE = 0.03  # of each caller between two orders


@dataclass(slots=True)
class Seen:
    """What the callers saw."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """The number of orders."""
        return sum(self.answers.values()) + len(self.wrong) + len(self.dropped)


class Callers:
    """People who order one of everything, again and again, on kept-alive connections."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._told = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        for one in self._threads:
            one.join()

    def _call(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        while not self._told.wait(PAUSE):
            try:
                self._order(connection)
            except (OSError, http.client.HTTPException) as error:
                self.seen.dropped.append(repr(error))
                connection.close()
        connection.close()

    def _order(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/", headers={"Host": market.HOST})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            self.seen.wrong.append(f"{answer.status} {body!r}")
            return
        said = json.loads(body)
        if said["total"] != TOTAL or said["gateway"] != said["catalogue"]:
            self.seen.wrong.append(str(said))
        else:
            self.seen.answers[f"v{said['gateway']}"] += 1


def release(project: Rig, number: int) -> float:
    """Bring a version live; return how long it took, in seconds."""
    market.write(project, number)
    began = time.monotonic()
    project.expect("up", limit=240.0)
    return time.monotonic() - began


def bad_worker(project: Rig, number: int) -> str:
    """Bring a version whose worker dies at once; return how it ended."""
    before = project.status()["serving"]
    market.write(project, number, bad="worker")
    done = project.anew("up", "--json", limit=240.0)
    after = project.status()
    if done.returncode != 6 or after["serving"] != before:
        raise AnewError(f"a bad worker was not taken back: {after['serving']}", facts={"stdout": done.stdout})
    return str(json.loads(done.stdout)["error"]["what"])


def counted(project: Rig) -> dict[str, int]:
    """Return what the workers counted, by asking the cache from a throwaway instance."""
    out = {}
    for key in ("number", "done", "forged"):
        said = project.expect("run", "worker", "--", "python3", "-c", ASK, key)
        out[key] = int(said)
    return out


ASK = (
    "import sys; sys.path.insert(0, '/srv/app'); from service import Cache; "
    "print(int(Cache().ask('GET', sys.argv[1]) or 0))"
)


def main() -> int:
    """Run the proof; 0 if nothing was dropped, wrong, lost or forged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    with rig(project="market") as project:
        try:
            return prove(project, arguments.releases)
        except AnewError as error:
            print(f"FAILED: {show(error)}\n{project.keeper_log()[-4000:]}")
            return 1


def prove(project: Rig, releases: int) -> int:
    """Release again and again under load, and print the figures."""
    market.prepare(project)
    print(f"v1 is live after {release(project, 1):.1f} s", flush=True)
    with Callers(project.port) as callers:
        for number in range(2, releases + 2):
            took = release(project, number)
            print(f"v{number}: {took:.1f} s, orders {callers.seen.sent}, wrong {len(callers.seen.wrong)}", flush=True)
        says = bad_worker(project, releases + 2)
        print(f"v{releases + 2}, whose worker is bad: {says}", flush=True)
        versions = set(callers.seen.answers)
    seen = callers.seen
    project.wait(lambda: counted(project)["done"] >= sum(seen.answers.values()), limit=20, what="all orders are done")
    found = counted(project)
    print(f"orders {seen.sent}, dropped {len(seen.dropped)}, wrong {len(seen.wrong)}, by version {dict(seen.answers)}")
    print(f"the cache counted {found['number']}, the workers {found['done']}, forged {found['forged']}")
    for one in (*seen.dropped[:5], *seen.wrong[:5]):
        print(f"  {one}")
    is_good = not seen.dropped and not seen.wrong and not found["forged"] and len(versions) >= releases
    return 0 if is_good and found["done"] == found["number"] else 1


if __name__ == "__main__":
    sys.exit(main())
