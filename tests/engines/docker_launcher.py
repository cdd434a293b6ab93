"""A process of its own that launches one order in a container: the conformance suite kills it at any moment.

Arguments: the state folder, the engine's socket, the owner, and the pickled order in hexadecimal; with the kind of a
container it only makes one, and does not start it.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import cast

from anew.build.store import ImageStore
from anew.engines.docker.client import Client
from anew.engines.docker.compute import Docker
from anew.engines.docker.labels import Kind

if __name__ == "__main__":
    home, socket, owner, order, *kind = sys.argv[1:]
    client = Client(Path(socket))
    engine = Docker(Path(home), ImageStore(Path(home) / "images").blobs, owner, client=client)
    wish = pickle.loads(bytes.fromhex(order))
    client.info()  # connected, so that it is killed while it launches
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    if kind:
        engine._create(wish, wish.name, cast("Kind", kind[0]))
    else:
        engine.launch(wish)
    sys.stdout.write("launched\n")
    sys.stdout.flush()
    sys.stdin.read()
