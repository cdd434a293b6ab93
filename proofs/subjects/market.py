"""The market of `examples/market` as the subject of a proof."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from anew.errors import AnewError
from anew.testing.rig import Rig

EXAMPLE = Path(__file__).parents[2] / "examples" / "market"
HOST = "market.example.com"
INSTANCES = 9  # of all services together
BREAKS: dict[str, tuple[str, str, str]] = {  # what is bad → file, text, text instead
    "worker": (  # it starts well, so the gate passes it, and dies soon after
        "worker/worker.py",
        "TOLD = threading.Event()",
        "TOLD = threading.Event()\n    threading.Timer(1.6, lambda: __import__('os')._exit(3)).start()",
    ),
    "gateway": (
        "gateway/gateway.py",
        'found = fetch(os.environ["CATALOGUE_URL"] + "/items")',
        'found = fetch(os.environ["CATALOGUE_URL"] + ("/items" if os.urandom(1)[0] > 60 else "/none"))',
    ),
}


def prepare(project: Rig, environment: str = "local") -> None:
    """Lay the example out where the rig expects its project, and set its secret in `environment`, if there is one."""
    shutil.copytree(EXAMPLE, project.root)
    spec = project.root / "anew.yaml"
    text = spec.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{project.port}")
    spec.write_text(text)
    if not environment:
        return
    done = project.anew("secret", "set", "signing_key", "-e", environment, text=random.randbytes(24).hex())
    if done.returncode:
        raise AnewError(f"the secret was not set: {done.stderr}")


def write(project: Rig, number: int, bad: str = "") -> None:
    """Write version `number`; `bad` names the service that is broken in it."""
    for file, text, instead in BREAKS.values():
        path = project.root / file
        path.write_text(path.read_text().replace(instead, text))
    if bad:
        file, text, instead = BREAKS[bad]
        path = project.root / file
        path.write_text(path.read_text().replace(text, instead))
    (project.root / "VERSION").write_text(f"{number}\n")
