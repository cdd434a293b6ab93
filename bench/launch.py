"""Starting an instance: what the embedded engine adds to the bare sandbox."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import page
from figures.figure import Count, Figure, Goal, Section

from anew.engines.embedded import argv
from anew.engines.embedded.compute import Embedded
from anew.engines.embedded.layout import lay_out
from anew.errors import EngineError
from anew.model import Digest, Identity, Image, Order, Scope
from anew.sandbox import find

SCOPE = Scope("bench", "local", "bench")
COMMAND = ("/bin/sh", "-c", "echo runs; exec sleep 600")
PATIENCE = 10.0  # seconds
FIRST_PORT = 31_100
UID = 777_000
METHOD = """`Embedded.launch` returns once the program of the instance runs (`/bin/sh`, on the machine's own root,
read-only). The peer is bubblewrap started by itself in the very same sandbox, the same mounts and uid, until
the first line of the same program is there; the bare one has only `--ro-bind / /`, `/proc` and `/dev`. All
three take turns; instances that were launched stay while the next ones are, as they would. What anew adds is
the difference of launch and peer of the same turn: the record of the instance, its lock, the filter of system
calls, and the watch until the program runs."""


def measure(arguments: argparse.Namespace) -> Section:
    """Start instances, and the same sandboxes without anew, in turn."""
    launched: list[float] = []
    same: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="anew-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        engine = Embedded(home, lambda digest: home / digest, SCOPE.owner)
        bwrap = find.bwrap(home / "bin")
        try:
            for number in range(arguments.starts + 1):
                order = ordered(number)
                with timed(launched):
                    engine.launch(order)
                options = argv.options(lay_out(order, home, lambda digest: home / digest))
                start([str(bwrap), *options, "--", *COMMAND], same)
                start([str(bwrap), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", *COMMAND], bare)
        finally:
            for one in engine.instances(SCOPE):
                engine.stop(one.name, 0.0)
                engine.remove(one.name)
    return section(launched[1:], same[1:], bare[1:])  # the first one fills caches that a keeper has filled long ago


def section(launched: list[float], same: list[float], bare: list[float]) -> Section:
    """Return the three rows of milliseconds as a section."""
    added = tuple(one - other for one, other in zip(launched, same, strict=True))
    figures = (
        Figure("`Embedded.launch`", "ms", tuple(launched), Goal(), "same sandbox", tuple(same)),
        Figure("`Embedded.launch`", "ms", tuple(launched), Goal(), "bare sandbox", tuple(bare)),
        Figure("what anew adds to the same sandbox", "ms", added, Goal(median=50)),
    )
    return Section(
        "launch",
        "Starting an instance",
        METHOD,
        figures,
        (Count("instances at once in the end", str(len(launched) + 1)),),
    )


def ordered(number: int) -> Order:
    """Return the order of one instance, on the machine's own root."""
    nothing: Digest = "sha256:" + "0" * 64
    image = Image(Identity(nothing, nothing, (), nothing, nothing), (), is_host=True)
    port = FIRST_PORT + number
    return Order(f"bench-local-web-g1-{number}", "web-g1", SCOPE, image, COMMAND, (("PORT", str(port)),), (), port)


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the milliseconds of the block."""
    began = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - began))


def start(command: list[str], into: list[float]) -> None:
    """Start a sandbox by itself, append the milliseconds until its program speaks, and end it."""
    drop = UID if os.geteuid() == 0 else None
    with timed(into):
        one = subprocess.Popen(
            [command[0], "--die-with-parent", *command[1:]],
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=drop,
            group=drop,
            extra_groups=None if drop is None else [],
        )
        assert one.stdout is not None
        is_there = select.select([one.stdout], [], [], PATIENCE)[0]
        said = os.read(one.stdout.fileno(), 4) if is_there else b""
    one.kill()
    one.wait()
    one.stdout.close()
    if said != b"runs":
        raise EngineError("the sandbox does not start", facts={"command": " ".join(command)})


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, starts=40)))
