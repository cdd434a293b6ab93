"""PUBLIC: what an engine that offers volumes must do; the checks are part of `anew.testing.conformance.CHECKS`.

An engine that offers none has a bench whose `volumes` is None, and every check raises `NotOffered`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from anew.errors import Conflict
from anew.model import Volume
from anew.testing.conformance_bench import SLEEPER, Bench
from anew.testing.conformance_claims import NotOffered, expect, expect_error

PLACE = "/var/lib/of-the-service/data"  # in no image
DATA = Volume("data", PLACE)
SHARED = Volume("data", PLACE, is_shared=True)
OF_ENGINES = {"hostname", "hosts", "resolv.conf"}  # which one may put into /etc, whatever is there
WRITE = f"""
import json, os
os.chdir("{PLACE}")
os.mkdir("folder", 0o700)
for name in ("kept", "renamed-later", "removed-later", "folder/private"):
    with open(name, "w") as file:
        file.write("of the first\\n")
    os.chmod(name, 0o600)
os.symlink("kept", "link")
os.chmod("removed-later", 0o400)
print(json.dumps(sorted(os.listdir("."))), flush=True)
"""
GO_ON = f"""
import json, os
os.chdir("{PLACE}")
with open("kept", "a") as file:
    file.write("of the second\\n")
os.chmod("kept", 0o640)
os.rename("renamed-later", "folder/renamed")
os.unlink("removed-later")
at = os.stat("kept")
print(json.dumps({{
    "kept": open("link").read(),
    "private": open("folder/private").read(),
    "names": sorted(os.listdir(".")),
    "folder": sorted(os.listdir("folder")),
    "is_own": (at.st_uid, at.st_gid) == (os.getuid(), os.getgid()),
}}), flush=True)
"""
NAMES = """
import json, os, sys
print(json.dumps([sorted(os.listdir(path)) if os.path.isdir(path) else None for path in sys.argv[1:]]), flush=True)
"""
TAKES_TURNS = f"""
import os, sys, time
os.chdir("{PLACE}")
mine, other = sys.argv[1:]
with open(mine, "x") as file:
    os.chmod(mine, 0o600)
    file.write(mine)
while not os.path.exists(other) or open(other).read() != other:
    time.sleep(0.01)
with open(other + "-seen", "w") as file:
    file.write("by " + mine)
while not os.path.exists(mine + "-seen"):
    time.sleep(0.01)
os.unlink(mine + "-seen")
print("done", flush=True)
time.sleep(600)
"""
TRIES = """
import json, os, sys
def writes(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return False
    return True
print(json.dumps([path for path in sys.argv[1:] if writes(path)]), flush=True)
"""


def _fields(bench: Bench, volume: Volume = DATA, service: str = "web") -> dict[str, Any]:
    """Return the fields of an order of a service that has the volume."""
    if bench.volumes is None:
        raise NotOffered("this engine offers no volumes")
    return {"service": service, "volumes": (volume,)}


def _listed(bench: Bench) -> list[tuple[str, str]]:
    return [(service, name) for service, name, _ in bench.volumes().volumes(bench.scope)] if bench.volumes else []


def check_a_volume_outlives_its_instances(bench: Bench) -> None:
    """What one instance wrote the next reads, goes on with, renames and removes, whatever others ran in between."""
    mine = _fields(bench)
    written = bench.output("a", WRITE, port=bench.port(), **mine)
    expect("written", actual=written, expected=["folder", "kept", "link", "removed-later", "renamed-later"])
    bench.output("between", NAMES, port=bench.port())
    found = bench.output("b", GO_ON, port=bench.port(), **mine)
    expect("read and gone on with", actual=found["kept"], expected="of the first\nof the second\n")
    expect("private files, too", actual=found["private"], expected="of the first\n")
    expect("renamed and removed", actual=found["names"], expected=["folder", "kept", "link"])
    expect("in folders, too", actual=found["folder"], expected=["private", "renamed"])
    expect("they are its own", actual=found["is_own"])


def check_a_throwaway_instance_has_volumes(bench: Bench) -> None:
    """A command that is run to its end has the same volumes as the instances of its service."""
    mine = _fields(bench)
    bench.output("a", WRITE, **mine)
    outcome = bench.client().run(bench.order("r", GO_ON, **mine), 30.0)
    expect(f"it ran: {outcome.output}", actual=outcome.code, expected=0)
    expect("read", actual=json.loads(outcome.output)["kept"], expected="of the first\nof the second\n")
    expect("what it did stays", actual=bench.output("b", NAMES, PLACE, **mine), expected=[["folder", "kept", "link"]])


def check_a_shared_volume_is_had_by_two_at_once(bench: Bench) -> None:
    """Two that are alive see at once what the other does, and may do the same."""
    mine = _fields(bench, SHARED)
    for one, other in (("a", "b"), ("b", "a")):
        bench.client().launch(bench.order(one, TAKES_TURNS, one, other, port=bench.port(), **mine))
    expect("they have met", actual=[bench.waits_for_line(one, "done") for one in ("a", "b")], expected=[True, True])
    for one in ("a", "b"):
        bench.end(one)
    expect("what is left", actual=bench.output("c", NAMES, PLACE, **mine), expected=[["a", "b"]])


def check_a_volume_is_of_one_service_in_one_environment(bench: Bench) -> None:
    """A volume of the same name of another service, or in another environment, is another one."""
    bench.output("a", WRITE, **_fields(bench))
    nothing: list[list[str]] = [[]]
    other = bench.output("b", NAMES, PLACE, **_fields(bench, service="api"))
    expect("another service", actual=other, expected=nothing)
    elsewhere = bench.output("c", NAMES, PLACE, scope=bench.other, **_fields(bench))
    expect("another environment", actual=elsewhere, expected=nothing)
    expect("none without a volume", actual=bench.output("d", NAMES, PLACE), expected=[None])


def check_a_volume_covers_what_the_image_has_there(bench: Bench) -> None:
    """A folder of the image is hidden below a volume, and is as it was where there is none."""
    mine = _fields(bench, Volume("data", "/etc"))
    (names,) = bench.output("a", NAMES, "/etc", **mine)
    expect("it is empty", actual=set(names) - OF_ENGINES, expected=set())
    expect("it can be written to", actual=bench.output("b", TRIES, "/etc/x", "/x", **mine), expected=["/etc/x"])
    (names,) = bench.output("c", NAMES, "/etc", **mine)
    expect("nothing else is in it", actual=set(names) - OF_ENGINES, expected={"x"})
    (names,) = bench.output("d", NAMES, "/etc")
    expect("the image is as it was", actual=("passwd" in names, "x" in names), expected=(True, False))


def check_a_place_that_is_not_there_is_made_without_touching_the_image(bench: Bench) -> None:
    """The way to a volume may be missing; it is there for who has the volume, and read-only but for the volume."""
    deep = "/not/in/the/image"
    tried = (f"{deep}/x", "/not/in/x", "/x")
    mine = _fields(bench, Volume("data", deep))
    expect("written", actual=bench.output("a", TRIES, *tried, **mine), expected=[f"{deep}/x"])
    expect("not in the image", actual=bench.output("b", NAMES, "/not"), expected=[None])
    inside = _fields(bench, Volume("data", "/tmp/inside"))  # noqa: S108 - a path inside
    expect("in a tmpfs", actual=bench.output("c", NAMES, "/tmp/inside", **inside), expected=[["x"]])  # noqa: S108


def check_volumes_are_listed_and_removed_on_request_only(bench: Bench) -> None:
    """Stop and remove leave volumes; removing one is refused while it is in use, and may be repeated."""
    mine = _fields(bench)
    volumes = bench.volumes() if bench.volumes else None
    if volumes is None:
        raise NotOffered("this engine offers no volumes")
    expect("none before the first launch", actual=_listed(bench), expected=[])
    bench.output("a", WRITE, **mine)
    bench.output("b", NAMES, PLACE, **_fields(bench, Volume("more", PLACE)))
    bench.output("c", NAMES, PLACE, **_fields(bench, service="api"))
    every = [("api", "data"), ("web", "data"), ("web", "more")]
    expect("they outlive everything", actual=_listed(bench), expected=every)
    expect("with their size", actual=all(size > 0 for _, _, size in volumes.volumes(bench.scope)))
    expect("in their environment", actual=volumes.volumes(bench.other), expected=())
    bench.client().launch(bench.order("d", SLEEPER, **mine))
    expect_error(Conflict, lambda: volumes.remove_volume(bench.scope, "web", "data"), "it is in use")
    volumes.remove_volume(bench.scope, "web", "more")
    volumes.remove_volume(bench.other, "web", "data")
    expect("one is gone", actual=_listed(bench), expected=every[:2])
    bench.end("d")
    volumes.remove_volume(bench.scope, "web", "data")
    volumes.remove_volume(bench.scope, "web", "data")
    expect("another is gone", actual=_listed(bench), expected=every[:1])
    expect("a new one is empty", actual=bench.output("e", NAMES, PLACE, **mine), expected=[[]])


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    value for name, value in sorted(globals().items()) if name.startswith("check_") and callable(value)
)
