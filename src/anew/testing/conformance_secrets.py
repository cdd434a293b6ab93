"""PUBLIC: what an engine that offers secrets must do; the checks are part of `anew.testing.conformance.CHECKS`.

An engine that offers none has a bench whose `secrets` is None, and every check raises `NotOffered`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from anew.errors import NotFound
from anew.model import Pin
from anew.testing.conformance_bench import INSIDE, SLEEPER, Bench
from anew.testing.conformance_claims import NotOffered, expect, expect_error

SHORT, LONG, ANY_BYTES = "short", "long", "any_bytes"
VALUES: Mapping[str, bytes] = {  # what a bench's `secrets` must hold at least
    SHORT: b"a value of 40 bytes that is nowhere else",
    LONG: b"a value of 1 MiB that is nowhere else  \n" * 26214 + b"the last 16 byte",
    ANY_BYTES: bytes(range(256)) * 3,
}
LOOK = """
import hashlib, json, os, stat
folder = "/run/secrets"
def may(act):
    try:
        act()
    except OSError:
        return False
    return True
def mount():
    found = ("", "", "")
    for line in open("/proc/self/mountinfo"):
        parts = line.split()
        rest = parts[parts.index("-") + 1:]
        if (folder + "/").startswith(parts[4].rstrip("/") + "/") and len(parts[4]) >= len(found[0]):
            found = (parts[4], rest[0], parts[5])
    return found
def told(path):
    at, value = os.stat(path), open(path, "rb").read()
    mine = (at.st_uid, at.st_gid) == (os.getuid(), os.getgid())
    return [oct(stat.S_IMODE(at.st_mode)), mine, len(value), hashlib.sha256(value).hexdigest(), os.path.islink(path)]
names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
acts = {}
for name in names:
    path = f"{folder}/{name}"
    acts[f"write {name}"] = lambda path=path: open(path, "r+b").close()
    acts[f"chmod {name}"] = lambda path=path: os.chmod(path, 0o600)
    acts[f"rename {name}"] = lambda path=path: os.rename(path, path + "x")
    acts[f"remove {name}"] = lambda path=path: os.unlink(path)
acts["create"] = lambda: open(f"{folder}/new", "wb").close()
acts["open the folder"] = lambda: os.chmod(folder, 0o777)
print(json.dumps({
    "files": {name: told(f"{folder}/{name}") for name in names},
    "folder": oct(stat.S_IMODE(os.stat(folder).st_mode)) if names else "",
    "mount": mount(),
    "changed": [what for what, act in acts.items() if may(act)],
}), flush=True)
"""


def _pins(bench: Bench, *names: str) -> tuple[Pin, ...]:
    if bench.secrets is None:
        raise NotOffered("this engine offers no secrets")
    return tuple(Pin(name, 1, "hmac-sha256:" + "0" * 64) for name in names)


def _file(value: bytes) -> list[Any]:
    """Return what `LOOK` tells of a secret: 0400, its own, not a link, and every byte of it."""
    return ["0o400", True, len(value), hashlib.sha256(value).hexdigest(), False]


def check_secrets_are_files_that_nobody_can_change(bench: Bench) -> None:
    """Each is a file of mode 0400 under /run/secrets, the instance's own, in memory, and read-only."""
    found = bench.output("a", LOOK, secrets=_pins(bench, *VALUES))
    expect("the files", actual=found["files"], expected={name: _file(value) for name, value in VALUES.items()})
    expect("the folder's mode", actual=found["folder"], expected="0o500")
    expect("in memory, and nowhere else", actual=found["mount"][:2], expected=["/run/secrets", "tmpfs"])
    expect("read-only", actual="ro" in found["mount"][2].split(","))
    expect("what can be changed", actual=found["changed"], expected=[])


def check_an_instance_has_its_own_secrets_only(bench: Bench) -> None:
    """Those that its order names, and no others."""
    found = bench.output("a", LOOK, secrets=_pins(bench, SHORT))
    expect("one", actual=sorted(found["files"]), expected=[SHORT])
    expect("none", actual=bench.output("b", LOOK)["files"], expected={})


def check_a_throwaway_instance_has_secrets(bench: Bench) -> None:
    """A command that is run to its end reads them, too."""
    outcome = bench.client().run(bench.order("r", LOOK, secrets=_pins(bench, *VALUES)), 30.0)
    expect(f"it ran: {outcome.output}", actual=outcome.code, expected=0)
    found = json.loads(outcome.output)["files"]
    expect("the files", actual=found, expected={name: _file(value) for name, value in VALUES.items()})


def check_secrets_can_be_where_much_else_is_writable(bench: Bench) -> None:
    """A tmpfs around the folder of secrets does not cover it."""
    found = bench.output("a", LOOK, secrets=_pins(bench, SHORT), writable=("/run",))
    expect("the file", actual=found["files"], expected={SHORT: _file(VALUES[SHORT])})
    expect("what can be changed", actual=found["changed"], expected=[])


def check_a_secret_is_in_no_list_and_no_descriptor(bench: Bench) -> None:
    """What an instance sees of its processes tells no value, and no file that held one is open any more."""
    before = bench.output("a", INSIDE)
    found = bench.output("b", INSIDE, secrets=_pins(bench, *VALUES))
    text = json.dumps(found)
    for name in (SHORT, LONG):
        expect(f"the value of {name} in what is seen", actual=VALUES[name][:40].decode() in text, expected=False)
    opened = [sorted(len(fds) for fds in one["descriptors"].values()) for one in (before, found)]
    expect("as many descriptors as without secrets", actual=opened[1], expected=opened[0])
    expect("no anonymous memory is open", actual="memfd" in json.dumps(found["descriptors"]), expected=False)


def check_what_is_not_revealed_launches_nothing(bench: Bench) -> None:
    """The error of a secret that can't be had is the caller's; nothing runs, and nothing is seen."""
    pins = _pins(bench, SHORT, "nobody_knows_it")
    order = bench.order("a", SLEEPER, secrets=pins)
    expect_error(NotFound, lambda: bench.client().launch(order), "launch")
    expect_error(NotFound, lambda: bench.client().run(order, 10.0), "run")
    expect("nothing is seen", actual=bench.find("a"), expected=None)
    expect("nothing runs", actual=bench.processes(bench.mark), expected=())
    expect_error(NotFound, lambda: bench.client().logs(order.name, 5), "no such instance ever ran")


def check_instances_with_secrets_are_launched_at_once(bench: Bench) -> None:
    """Several clients launch at the same time, and each instance gets what it is to have."""
    wanted = {f"n{number}": (SHORT, LONG, ANY_BYTES)[number % 3] for number in range(9)}
    found: dict[str, Any] = {}

    def launch(name: str, secret: str) -> None:
        found[name] = bench.output(name, LOOK, secrets=_pins(bench, secret))["files"]

    _pins(bench)
    threads = [threading.Thread(target=launch, args=pair) for pair in wanted.items()]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    expect("each its own", actual=found, expected={n: {s: _file(VALUES[s])} for n, s in wanted.items()})


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    value for name, value in sorted(globals().items()) if name.startswith("check_") and callable(value)
)
