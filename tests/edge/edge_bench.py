"""The HAProxy edge on the bench of the conformance suite."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from anew.edge import process
from anew.edge.runtime import HaproxyEdge
from anew.edge.sockets import Master
from anew.model import Declaration, Weights
from anew.testing.conformance_edge_bench import Bench, until

CALLER = """
import base64, importlib, pickle, sys
from pathlib import Path
from anew.model import Declaration
here, module, maker, folder, scope, what = sys.argv[1:]
sys.path.insert(0, here)
wanted = pickle.loads(base64.b64decode(what))
edge = getattr(importlib.import_module(module), maker)(Path(folder), scope)
print("ready", flush=True)
sys.stdin.readline()
edge.declare(wanted) if isinstance(wanted, Declaration) else edge.shift(wanted)
"""


def local(folder: Path, scope: str) -> HaproxyEdge:
    """Return a client of an edge whose HAProxy is one of this machine."""
    return HaproxyEdge(folder / scope / "edge", folder / scope / "s")


def abandoned(
    make: Callable[[Path, str], HaproxyEdge], folder: Path, scope: str, wanted: Declaration | Weights, seconds: float
) -> None:
    """Let a process of its own `declare` or `shift`, and kill it after so long; `make` is a function of a module."""
    what = b64encode(pickle.dumps(wanted)).decode()
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", CALLER, here, make.__module__, make.__name__, str(folder), scope, what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdout.readline()
        one.stdin.write(b"\n")
        one.stdin.flush()
        time.sleep(seconds)
        one.kill()


def haproxy_bench(folder: Path, make: Callable[[Path, str], HaproxyEdge] = local) -> Bench:
    """Return a bench whose edges live in `folder`."""

    def kill(scope: str) -> None:
        config = folder / scope / "edge" / "haproxy.cfg"
        for pid in process.ours(config):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # its master took it along
        until(lambda: not process.ours(config), "all have ended")

    def abandon(scope: str, wanted: Declaration | Weights, seconds: float) -> None:
        abandoned(make, folder, scope, wanted, seconds)

    def loaded(scope: str) -> str:
        current = Master(folder / scope / "s" / "haproxy.sock").current()
        return current.identity if current else ""

    return Bench(lambda scope: make(folder, scope), kill, abandon, loaded)
