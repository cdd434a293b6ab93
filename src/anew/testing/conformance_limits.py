"""PUBLIC: what every engine does about `Order.limits`, as checks of conformance.

No check measures how fast a machine is: what is asserted is that something is refused, killed, or used at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from anew.model import Bytes, Limits
from anew.testing.conformance_bench import INSIDE, SLEEPER, Bench
from anew.testing.conformance_claims import NotOffered, expect

MEMORY: Bytes = 64 << 20
ENDED = "killed for memory (limit 64 MiB)"

GREEDY = """
import sys
print("begun", flush=True)
kept = [bytearray(1 << 20) for _ in range(int(sys.argv[1]))]
print("had it all", flush=True)
"""
WRITER = """
import sys
print("begun", flush=True)
with open("/tmp/much", "wb") as file:
    for _ in range(int(sys.argv[1])):
        file.write(bytes(1 << 20))
print("wrote it all", flush=True)
"""
PARENT_OF_GREEDY = """
import os, sys, time
child = os.fork()
if child == 0:
    kept = [bytearray(1 << 20) for _ in range(300)]
    os._exit(0)
print("child", os.waitpid(child, 0)[1], flush=True)
if sys.argv[1] == "waits":
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""
BREEDER = """
import json, os, time
born = 0
try:
    while born < 200:
        if os.fork() == 0:
            time.sleep(600)
        born += 1
    why = ""
except OSError as cause:
    why = cause.strerror
print(json.dumps({"born": born, "why": why}), flush=True)
time.sleep(600)
"""
BUSY = """
import json, time
begun, before = time.monotonic(), time.process_time()
while time.monotonic() < begun + 1.5:
    pass
print(json.dumps({"used": time.process_time() - before, "took": time.monotonic() - begun}), flush=True)
"""


def _limited(bench: Bench, **limits: Any) -> Limits:
    """Return these limits; raise NotOffered if the engine can't hold one of them here."""
    for one in limits:
        if one not in bench.limits:
            raise NotOffered(f"{one} can't be limited here")
    return Limits(**limits)


def _how_it_ended(bench: Bench, name: str) -> str | None:
    seen = bench.waits_for(name, lambda one: not one.is_alive)
    return seen.ended if seen is not None else None


def check_memory_is_limited_and_the_end_says_so(bench: Bench) -> None:
    """What needs more memory than it may have is killed, and every later look says why, until it is removed."""
    limited = _limited(bench, memory=MEMORY)
    client = bench.client()
    client.launch(bench.order("a", GREEDY, "300", limits=limited))
    expect("how it ended", actual=_how_it_ended(bench, "a"), expected=ENDED)
    client.stop(f"{bench.mark}-a", 0.0)
    expect("how it ended, when it was stopped besides", actual=_how_it_ended(bench, "a"), expected=ENDED)
    expect("what it wrote", actual=client.logs(f"{bench.mark}-a", 5), expected=("begun",))
    client.remove(f"{bench.mark}-a")
    expect("it is gone", actual=bench.find("a"), expected=None)


def check_what_fits_into_its_memory_runs(bench: Bench) -> None:
    """A limit takes nothing from what keeps it."""
    limited = _limited(bench, memory=MEMORY)
    bench.client().launch(bench.order("a", GREEDY, "20", limits=limited))
    expect("how it ended", actual=_how_it_ended(bench, "a"), expected="exit code 0")


def check_files_in_memory_count_as_memory(bench: Bench) -> None:
    """What is written to /tmp can't take the machine's memory: the limit holds for it, too."""
    limited = _limited(bench, memory=MEMORY)
    bench.client().launch(bench.order("a", WRITER, "300", limits=limited))
    seen = _how_it_ended(bench, "a")
    expect("it has ended", actual=seen is not None)
    expect("not all was written", actual="wrote it all" in bench.client().logs(f"{bench.mark}-a", 5), expected=False)


def check_a_process_that_is_killed_for_memory_is_not_its_application(bench: Bench) -> None:
    """The application may go on when the kernel kills a process of it, and its end is its own."""
    limited = _limited(bench, memory=MEMORY)
    client = bench.client()
    client.launch(bench.order("a", PARENT_OF_GREEDY, "0", limits=limited))
    expect("it ended well", actual=_how_it_ended(bench, "a"), expected="exit code 0")
    client.launch(bench.order("b", PARENT_OF_GREEDY, "waits", limits=limited))
    expect("the child was killed", actual=bench.waits_for_line("b", "child 9"))
    seen = bench.find("b")
    expect("it goes on", actual=seen is not None and seen.is_alive)
    client.stop(f"{bench.mark}-b", 5.0)
    expect("it has ended", actual=_how_it_ended(bench, "b") in {"signal 15 (SIGTERM)", "signal 9 (SIGKILL)"})
    client.launch(bench.order("c", PARENT_OF_GREEDY, "3", limits=limited))
    ended = _how_it_ended(bench, "c") or ""
    expect(f"its code: {ended}", actual=ended.startswith("exit code 3"))


def check_processes_are_limited(bench: Bench) -> None:
    """No more processes than the limit can be started; those that there are go on."""
    limited = _limited(bench, pids=10)
    client = bench.client()
    client.launch(bench.order("a", BREEDER, limits=limited))
    expect("it tried", actual=bench.waits_for("a", lambda _: bool(client.logs(f"{bench.mark}-a", 1))) is not None)
    found = json.loads(client.logs(f"{bench.mark}-a", 1)[-1])
    expect(f"refused: {found}", actual=bool(found["why"]))
    expect(f"about as many as it may: {found}", actual=5 <= found["born"] < 10)
    seen = bench.find("a")
    expect("it lives", actual=seen is not None and seen.is_alive)


def check_processors_are_limited(bench: Bench) -> None:
    """What computes all the time gets no more of a processor than it may; a busy machine gives it less."""
    found = bench.output("a", BUSY, limits=_limited(bench, cpu=0.5))
    share = found["used"] / found["took"]
    expect(f"at most about half of a processor, and it had {share:.2f}", actual=share < 0.75)


def check_a_throwaway_instance_is_limited(bench: Bench) -> None:
    """A command that is run to its end has limits, too; its output tells what it was killed for."""
    limited = _limited(bench, memory=MEMORY)
    client = bench.client()
    outcome = client.run(bench.order("r", GREEDY, "300", limits=limited), 30.0)
    expect("killed", actual=outcome.code, expected=-9)
    expect("what it wrote, and why", actual=outcome.output.splitlines(), expected=["begun", ENDED])
    fine = client.run(bench.order("r", GREEDY, "20", limits=limited), 30.0)
    expect("what fits", actual=(fine.code, fine.output.splitlines()), expected=(0, ["begun", "had it all"]))
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())


def check_limits_are_its_own(bench: Bench) -> None:
    """What one instance uses, or was killed for, is not counted against another, nor against the next of its name."""
    limited = _limited(bench, memory=MEMORY, pids=50)
    client = bench.client()
    client.launch(bench.order("a", SLEEPER, limits=limited))
    client.launch(bench.order("b", GREEDY, "300", limits=limited))
    expect("one is killed", actual=_how_it_ended(bench, "b"), expected=ENDED)
    seen = bench.find("a")
    expect("the other lives", actual=seen is not None and seen.is_alive)
    client.remove(f"{bench.mark}-b")
    client.launch(bench.order("b", "import os; os.kill(os.getpid(), 9)", limits=limited))
    expect("the next of its name", actual=_how_it_ended(bench, "b"), expected="signal 9 (SIGKILL)")


def check_a_limited_instance_does_not_learn_its_name(bench: Bench) -> None:
    """Limits tell an application nothing about which instance it is."""
    found = bench.output("inside", INSIDE, limits=_limited(bench, memory=MEMORY))
    text = json.dumps({key: value for key, value in found.items() if key != "commands"})
    expect("its name", actual=f"{bench.mark}-inside" in text, expected=False)


def check_a_limited_instance_survives_its_launcher(bench: Bench) -> None:
    """Limits outlive whoever launched it, and so does what it was killed for."""
    limited = _limited(bench, memory=MEMORY)
    process = bench.elsewhere(bench.order("a", f"import time; time.sleep(1)\n{GREEDY}", "300", limits=limited))
    try:
        if process.stdin is not None and process.stdout is not None:
            expect("the launcher is ready", actual=process.stdout.readline(), expected=b"ready\n")
            process.stdin.write(b"go\n")
            process.stdin.flush()
            expect("it is launched", actual=process.stdout.readline(), expected=b"launched\n")
    finally:
        process.kill()
        process.communicate()
    expect("how it ended", actual=_how_it_ended(bench, "a"), expected=ENDED)


def check_launchers_that_are_killed_leave_no_instance_without_limits(bench: Bench) -> None:
    """Whenever its launcher is killed: a limited instance has its limits, or is not there."""
    limited = _limited(bench, memory=MEMORY)
    for number in range(min(12, len(bench.moments))):
        name = f"k{number}"
        order = bench.order(name, f"import time; time.sleep(0.3)\n{GREEDY}", "300", limits=limited)
        process = bench.elsewhere(order)
        try:
            if process.stdin is not None and process.stdout is not None:
                expect("the launcher is ready", actual=process.stdout.readline(), expected=b"ready\n")
                process.stdin.write(b"go\n")
                process.stdin.flush()
                time.sleep(number * 0.004)
        finally:
            process.kill()
            process.communicate()
        client = bench.client()
        client.launch(order)
        expect(f"killed after {number * 4} ms", actual=_how_it_ended(bench, name), expected=ENDED)
        client.remove(order.name)


CHECKS: tuple[Callable[[Bench], None], ...] = tuple(
    value for name, value in sorted(globals().items()) if name.startswith("check_") and callable(value)
)
