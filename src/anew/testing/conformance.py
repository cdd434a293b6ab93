"""PUBLIC: what every engine's `anew.ports.Compute` must do, as one body of checks.

Each `check_*` takes a `Bench`, runs on the real thing, and raises `Nonconforming` with a sentence if the engine does
not conform, or `NotOffered` if it is about something that the engine has not. `CHECKS` are all of them, with those of
`anew.testing.conformance_limits`, `anew.testing.conformance_secrets` and `anew.testing.conformance_volumes`.

>>> sorted(one.__name__ for one in CHECKS)[0]
'check_a_command_that_is_not_there_is_an_end'
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anew.errors import Conflict, NotFound
from anew.model import Seconds
from anew.testing import conformance_limits, conformance_secrets, conformance_volumes
from anew.testing.conformance_bench import INSIDE, PARENT, POLITE, SERVER, SLEEPER, STUBBORN, Bench
from anew.testing.conformance_claims import Nonconforming, NotOffered, expect, expect_error

__all__ = ["CHECKS", "Nonconforming", "NotOffered", "expect", "expect_error"]

SOON: Seconds = 30.0  # at the latest, on a machine that others use; what it is told from takes far longer
ABSENT_LAYER = "sha256:" + "e" * 64


def check_launches_are_seen_at_once(bench: Bench) -> None:
    """A launch that returned is seen by every client, with its group and port."""
    port = bench.port()
    bench.client().launch(bench.order("a", SERVER, port=port))
    seen = bench.find("a")
    expect("it is there", actual=seen is not None)
    if seen is not None:
        expect(
            "what is seen",
            actual=(seen.group, seen.port, seen.is_alive, seen.ended),
            expected=("web-g1", port, True, ""),
        )
        expect("its start is known", actual=abs(time.time() - seen.started) < 60)
    expect("it listens", actual=bench.waits_for("a", lambda one: one.is_listening) is not None)


def check_twice_is_once(bench: Bench) -> None:
    """Every call may be repeated: launch, stop, remove; of an instance that ended, too."""
    client, order = bench.client(), bench.order("a", POLITE)
    client.launch(order)
    first = bench.find("a")
    client.launch(order)
    bench.client().launch(order)
    expect("it is the same instance", actual=bench.find("a"), expected=first)
    client.stop(order.name, 5.0)
    client.stop(order.name, 5.0)
    ended = bench.find("a")
    client.launch(order)
    expect("an ended one is left as it is", actual=bench.find("a"), expected=ended)
    client.remove(order.name)
    client.remove(order.name)
    client.stop(order.name, 5.0)
    expect("it is gone", actual=bench.find("a"), expected=None)


def check_an_end_is_seen_with_its_code(bench: Bench) -> None:
    """How an instance ended is known, though nobody was watching when it did."""
    client = bench.client()
    client.launch(bench.order("a", "import sys; sys.exit(7)"))
    client.launch(bench.order("b", "import os; os.kill(os.getpid(), 9)"))
    client.launch(bench.order("c", "pass"))
    wanted = {"a": "exit code 7", "b": "signal 9 (SIGKILL)", "c": "exit code 0"}
    for name, ended in wanted.items():
        seen = bench.waits_for(name, lambda one: not one.is_alive)
        expect("the end is seen", actual=seen.ended if seen else None, expected=ended)


def check_a_command_that_is_not_there_is_an_end(bench: Bench) -> None:
    """A command that the image lacks makes an instance that ended, and says why."""
    order = replace(bench.order("a", ""), command=("no-such-command", bench.mark))
    bench.client().launch(order)
    seen = bench.waits_for("a", lambda one: not one.is_alive)
    expect("why it ended", actual=seen.ended if seen else None, expected="command not found: no-such-command")
    outcome = bench.client().run(order, 10.0)
    expect("the code of a shell", actual=outcome.code, expected=127)
    expect("the command is named", actual="no-such-command" in outcome.output)


def check_readiness_turns_false_when_the_process_dies(bench: Bench) -> None:
    """An instance listens while its own process does, and no longer."""
    client, port = bench.client(), bench.port()
    client.launch(bench.order("a", SERVER, port=port))
    expect("it listens", actual=bench.waits_for("a", lambda one: one.is_listening) is not None)
    expect(
        "the same client sees it, too",
        actual=[one.is_listening for one in client.instances(bench.scope)],
        expected=[True],
    )
    client.stop(f"{bench.mark}-a", 0.0)
    seen = [(one.is_alive, one.is_listening, one.pid) for one in client.instances(bench.scope)]
    expect("dead, and not listening", actual=seen, expected=[(False, False, 0)])


def check_a_taken_port_is_a_conflict(bench: Bench) -> None:
    """A port that is listened on is refused, and the error names it."""
    if not bench.shares_ports:
        raise NotOffered("instances of this engine have addresses of their own")
    client, port = bench.client(), bench.port()
    client.launch(bench.order("a", SERVER, port=port))
    expect("it listens", actual=bench.waits_for("a", lambda one: one.is_listening) is not None)
    error = expect_error(Conflict, lambda: client.launch(bench.order("b", SERVER, port=port)), "two on one port")
    expect("the port is named", actual=str(port) in error.what)
    expect("nothing was launched", actual=bench.find("b"), expected=None)


def check_grace_is_honoured(bench: Bench) -> None:
    """The application gets SIGTERM, and the time that it needs to end in peace."""
    client = bench.client()
    client.launch(bench.order("a", POLITE))
    expect("it runs", actual=bench.waits_for_line("a", "running"))
    begun = time.monotonic()
    client.stop(f"{bench.mark}-a", 2 * SOON)
    expect("no longer than it needs", actual=time.monotonic() - begun < SOON)
    lines = client.logs(f"{bench.mark}-a", 10)
    expect("its handler ran to its end", actual=lines, expected=("running", "asked to end", "ended in peace"))
    seen = bench.find("a")
    expect("its own exit code", actual=seen.ended if seen else None, expected="exit code 5")


def check_a_stubborn_one_is_killed_after_its_grace(bench: Bench) -> None:
    """What ignores SIGTERM is killed, not before its grace is over."""
    client = bench.client()
    client.launch(bench.order("a", STUBBORN))
    expect("it runs", actual=bench.waits_for_line("a", "running"))
    begun = time.monotonic()
    client.stop(f"{bench.mark}-a", 0.5)
    took = time.monotonic() - begun
    expect(f"after its grace, and soon ({took:.2f} s)", actual=0.5 <= took < SOON)
    seen = bench.find("a")
    expect("it was killed", actual=seen.ended if seen else None, expected="signal 9 (SIGKILL)")
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())


def check_what_an_instance_leaves_behind_is_ended(bench: Bench) -> None:
    """Processes that an application left when it ended go with the instance."""
    client = bench.client()
    client.launch(bench.order("a", PARENT))
    seen = bench.waits_for("a", lambda one: not one.is_alive)
    expect("the application has ended", actual=seen.ended if seen else None, expected="exit code 3")
    client.remove(f"{bench.mark}-a")
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())
    begun = time.monotonic()
    expect("run does not wait for it", actual=client.run(bench.order("b", PARENT), 2 * SOON).code, expected=3)
    expect("run returns soon", actual=time.monotonic() - begun < SOON)
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())


def check_an_instance_that_lives_is_not_removed(bench: Bench) -> None:
    """Remove is for ended instances."""
    client = bench.client()
    client.launch(bench.order("a", SLEEPER))
    expect_error(Conflict, lambda: client.remove(f"{bench.mark}-a"), "it is alive")
    seen = bench.find("a")
    expect("it lives on", actual=seen is not None and seen.is_alive)


def check_two_scopes_do_not_see_each_other(bench: Bench) -> None:
    """Instances are seen in their own environment only, and those of another state are a Conflict."""
    client, other = bench.client(), bench.other
    client.launch(bench.order("a", SLEEPER))
    client.launch(bench.order("b", SLEEPER, scope=other))
    names = [[one.name for one in client.instances(scope)] for scope in (bench.scope, other)]
    expect("each in its own", actual=names, expected=[[f"{bench.mark}-a"], [f"{bench.mark}-b"]])
    client.stop(f"{bench.mark}-b", 0.0)
    client.remove(f"{bench.mark}-b")
    stranger = bench.stranger()
    expect("a stranger sees nothing", actual=stranger.instances(bench.scope), expected=())
    expect_error(Conflict, lambda: stranger.launch(bench.order("a", SLEEPER)), "the name is another state's")
    expect_error(Conflict, lambda: stranger.stop(f"{bench.mark}-a", 0.0), "a stranger stops it")
    seen = bench.find("a")
    expect("it lives on", actual=seen is not None and seen.is_alive)


def check_a_second_client_sees_the_same_world(bench: Bench) -> None:
    """Clients share nothing but the world: what one does the other sees, and can go on with."""
    one, other = bench.client(), bench.client()
    one.launch(bench.order("a", SLEEPER))
    expect("launched", actual=other.instances(bench.scope), expected=one.instances(bench.scope))
    other.stop(f"{bench.mark}-a", 0.0)
    expect("stopped", actual=one.instances(bench.scope), expected=other.instances(bench.scope))
    expect("it has ended", actual=[i.is_alive for i in one.instances(bench.scope)], expected=[False])
    other.remove(f"{bench.mark}-a")
    expect("removed", actual=one.instances(bench.scope), expected=())


def _say_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None or process.stdout is None:
        raise Nonconforming("the bench's launcher is not connected")
    expect("the launcher is ready", actual=process.stdout.readline(), expected=b"ready\n")
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def check_an_instance_survives_its_launcher(bench: Bench) -> None:
    """Killing whoever launched an instance does not touch it; its end is still seen."""
    process = bench.elsewhere(bench.order("a", POLITE))
    try:
        _say_go(process)
        said = process.stdout.readline() if process.stdout else b""
        expect("it is launched", actual=said, expected=b"launched\n")
    finally:
        _end(process)
    expect("it runs", actual=bench.waits_for_line("a", "running"))
    bench.client().stop(f"{bench.mark}-a", 5.0)
    seen = bench.find("a")
    expect("its end is known", actual=seen.ended if seen else None, expected="exit code 5")


def check_a_launcher_killed_at_any_moment_leaves_nothing_unknown(bench: Bench) -> None:
    """Whatever a killed launcher leaves is seen, can be stopped, and the launch can be repeated."""
    for number, moment in enumerate(bench.moments):
        order = bench.order(f"k{number}", SLEEPER)
        process = bench.elsewhere(order)
        try:
            _say_go(process)
            time.sleep(moment)
        finally:
            _end(process)
        _expect_known(bench, f"k{number}")
        client = bench.client()
        client.launch(order)
        seen = bench.find(f"k{number}")
        expect(f"killed after {moment} s, then repeated", actual=seen is not None and seen.is_alive)
        client.stop(order.name, 0.0)
        client.remove(order.name)
        _expect_none_left(bench)


def _expect_none_left(bench: Bench) -> None:
    """What a killed launcher had begun, and never became the instance, ends by itself; it may need a moment."""
    end = time.monotonic() + SOON
    while bench.processes(bench.mark) and time.monotonic() < end:
        time.sleep(0.005)
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())


def _expect_known(bench: Bench, name: str) -> None:
    """Look for a while: a process must never be there without its instance."""
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        processes = bench.processes(bench.mark)
        if processes and bench.find(name) is None and set(processes) & set(bench.processes(bench.mark)):
            raise Nonconforming(f"{name} is not known, and its processes {processes} run")
        time.sleep(0.005)


def check_a_lost_reply_can_be_repeated(bench: Bench) -> None:
    """Who does not know whether a call succeeded repeats it, through another client, and all is well."""
    order = bench.order("a", SLEEPER)
    bench.client().launch(order)
    seen = bench.find("a")
    bench.client().launch(order)
    expect("launched once", actual=bench.find("a"), expected=seen)
    expect("one instance", actual=len(bench.client().instances(bench.scope)), expected=1)
    bench.client().stop(order.name, 0.0)
    bench.client().stop(order.name, 0.0)
    bench.client().remove(order.name)
    bench.client().remove(order.name)
    expect("gone", actual=bench.client().instances(bench.scope), expected=())


def _inside(bench: Bench, *paths: str, **more: Any) -> dict[str, Any]:
    """Return what an instance sees from inside, and which of the paths it can write to."""
    bench.client().launch(bench.order("inside", INSIDE, *paths, **more))
    seen = bench.waits_for("inside", lambda one: not one.is_alive)
    lines = bench.client().logs(f"{bench.mark}-inside", 50)
    expect(f"it ran: {lines}", actual=seen.ended if seen else None, expected="exit code 0")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def check_nothing_of_the_launcher_is_inside(bench: Bench) -> None:
    """No variable, descriptor, process or file of whoever launched it is seen inside."""
    os.environ["ANEW_CONFORMANCE_SECRET"] = "launcher"  # noqa: S105 - a word to look for
    opened = os.memfd_create("anew-conformance-descriptor", 0)  # inherited by careless launchers
    os.set_inheritable(opened, True)
    try:
        found = _inside(bench, environment=(("GREETING", "hello"),))
    finally:
        os.close(opened)
        del os.environ["ANEW_CONFORMANCE_SECRET"]
    text = json.dumps(found)
    expect("its own flag", actual=found["environment"].get("GREETING"), expected="hello")
    expect("no variable of the launcher", actual="ANEW_CONFORMANCE_SECRET" in text, expected=False)
    own = {f"{name}={value}" for name, value in found["environment"].items()}
    expect("nothing in the first process but that", actual=set(found["first"].split("\0")) - own - {""}, expected=set())
    expect("no descriptor of the launcher", actual="anew-conformance-descriptor" in text, expected=False)
    others = [line for line in found["commands"].values() if line and bench.mark not in line]
    expect("no process of others", actual=others, expected=[])


def check_an_instance_does_not_learn_its_name(bench: Bench) -> None:
    """An application can't find out which instance it is: it would come to depend on it."""
    found = _inside(bench)
    text = json.dumps({key: value for key, value in found.items() if key != "commands"})
    expect("its name", actual=f"{bench.mark}-inside" in text, expected=False)


def check_the_root_is_read_only(bench: Bench) -> None:
    """Nothing can be written but in /tmp and where the order says."""
    tried = ("/x", "/etc/x", "/usr/x", "/usr/bin/python3", "/proc/sys/vm/swappiness", "/run/x", "/sys/x", "/var/x")
    mine = ("/tmp/x", "/var/lib/mine/x", "/made/for/it/x")  # noqa: S108 - paths inside
    found = _inside(bench, *tried, *mine, writable=("/var/lib/mine", "/made/for/it"))
    expect("what can be written", actual=found["written"], expected=list(mine))


def check_an_instance_has_no_power(bench: Bench) -> None:
    """No capability, no way to new ones, a filter of system calls, and not the uid of root."""
    found = _inside(bench)
    none = "0" * 16
    sets = {key: found["status"][key].strip() for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")}
    expect("capabilities", actual=sets, expected=dict.fromkeys(sets, none))
    expect("no new privileges", actual=found["status"]["NoNewPrivs"].strip(), expected="1")
    expect("a filter", actual=found["status"]["Seccomp"].strip(), expected="2")
    expect("not root", actual=found["uid"] != 0)


def check_logs_outlive_the_instance(bench: Bench) -> None:
    """What an instance wrote stays readable when it is removed; a name that never was is NotFound."""
    client, name = bench.client(), f"{bench.mark}-a"
    client.launch(bench.order("a", "for n in range(1000): print('line', n)"))
    bench.waits_for("a", lambda one: not one.is_alive)
    wanted = ("line 998", "line 999")
    expect("while it is there", actual=client.logs(name, 2), expected=wanted)
    client.remove(name)
    expect("when it is gone", actual=bench.client().logs(name, 2), expected=wanted)
    expect("all of them", actual=len(client.logs(name, 5000)), expected=1000)
    expect_error(NotFound, lambda: client.logs(f"{bench.mark}-never", 2), "no such instance")


def check_run_returns_what_happened(bench: Bench) -> None:
    """A throwaway command returns its code and output, is bounded, and leaves nothing."""
    client = bench.client()
    good = client.run(bench.order("r", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(4)"), 30.0)
    expect("the code", actual=good.code, expected=4)
    expect("the output", actual=sorted(good.output.split()), expected=["err", "out"])
    named = client.run(bench.order("r", "open('/dev/stdout', 'w').write('by name')"), 30.0)
    expect("output that is opened by name", actual=named.output, expected="by name")
    flood = client.run(bench.order("r", "for n in range(60000): print('line', n)"), 30.0)
    expect("the end of a flood", actual=flood.output.endswith("line 59999\n"))
    expect("bounded", actual=len(flood.output) <= 65536)
    killed = client.run(bench.order("r", "import os; os.kill(os.getpid(), 6)"), 30.0)
    expect("a signal", actual=killed.code, expected=-6)
    begun = time.monotonic()
    late = client.run(bench.order("r", f"print('begun', flush=True)\n{STUBBORN}"), 1.0)
    expect("late", actual=(late.is_late, late.output.split()[0]), expected=(True, "begun"))
    expect("within its bound", actual=time.monotonic() - begun < SOON)
    expect("nothing of it runs", actual=bench.processes(bench.mark), expected=())
    expect("nothing of it is seen", actual=client.instances(bench.scope), expected=())


def check_a_missing_layer_is_not_found(bench: Bench) -> None:
    """An image that is not there is NotFound, and leaves nothing."""
    image = replace(bench.image, layers=(*bench.image.layers, ABSENT_LAYER))
    order = replace(bench.order("a", SLEEPER), image=image)
    expect_error(NotFound, lambda: bench.client().launch(order), "no such layer")
    expect("nothing was launched", actual=bench.find("a"), expected=None)


CHECKS: tuple[Callable[[Bench], None], ...] = (
    *(value for name, value in sorted(globals().items()) if name.startswith("check_") and callable(value)),
    *conformance_limits.CHECKS,
    *conformance_secrets.CHECKS,
    *conformance_volumes.CHECKS,
)
