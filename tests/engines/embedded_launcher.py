"""A process of its own that launches one order: the conformance suite kills it at any moment.

Arguments: the state folder, the folder of layers, the owner, and the pickled order in hexadecimal.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from anew.engines.embedded.compute import Embedded

if __name__ == "__main__":
    home, layers, owner, order = sys.argv[1:]
    engine = Embedded(Path(home), lambda digest: Path(layers) / digest.removeprefix("sha256:"), owner)
    wish = pickle.loads(bytes.fromhex(order))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    engine.launch(wish)
    sys.stdout.write("launched\n")
    sys.stdout.flush()
    sys.stdin.read()
