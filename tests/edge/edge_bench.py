"""The HAProxy edge on the bench of the conformance suite."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

from anew.edge import process
from anew.edge.runtime import HaproxyEdge
from anew.edge.sockets import Master
from anew.model import Declaration, Weights
from anew.testing.conformance_edge_bench import Bench, until

CALLER = """
import base64, pickle, sys
from pathlib import Path
from anew.edge.runtime import HaproxyEdge
from anew.model import Declaration
folder, sockets, what = sys.argv[1:]
wanted = pickle.loads(base64.b64decode(what))
edge = HaproxyEdge(Path(folder), Path(sockets))
print("ready", flush=True)
sys.stdin.readline()
edge.declare(wanted) if isinstance(wanted, Declaration) else edge.shift(wanted)
"""


def haproxy_bench(folder: Path) -> Bench:
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
        what = b64encode(pickle.dumps(wanted)).decode()
        command = [sys.executable, "-c", CALLER, str(folder / scope / "edge"), str(folder / scope / "s"), what]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as one:
            assert one.stdin is not None
            assert one.stdout is not None
            one.stdout.readline()
            one.stdin.write(b"\n")
            one.stdin.flush()
            time.sleep(seconds)
            one.kill()

    def loaded(scope: str) -> str:
        current = Master(folder / scope / "s" / "haproxy.sock").current()
        return current.identity if current else ""

    return Bench(lambda scope: HaproxyEdge(folder / scope / "edge", folder / scope / "s"), kill, abandon, loaded)
