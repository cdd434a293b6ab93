"""The image gate: tests on a fresh instance of the packed image, in a throwaway environment of its own.

Every wait has a bound and is on a condition. An instance that dies, or a command that the image does not have,
closes the gate at once; it is told with the last lines that the instance wrote.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from anew.errors import Conflict
from anew.model import Http, Image, Instance, Order, Scope, Seconds, Service, Test
from anew.ports import Compute, Say

ENVIRONMENT = "gate"  # no environment of a project: instances of it are nobody's but the gate's
_POLL: Seconds = 0.05
_REQUEST: Seconds = 5.0  # bound of one request
_SETTLE: Seconds = 1.0  # a worker that is alive so long after its start counts as started
_BODY = 1 << 20  # bytes of an answer that are searched
_LINES = 15  # of the log, in a reason
_PORTS = 3  # ports that are tried
_NOT_FOUND = 127  # exit code of a command that isn't there

Results = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tested: `image` running as `service`; `serial` (8 hex digits) makes its names unique."""

    scope: Scope
    service: Service
    image: Image
    serial: str
    port: Callable[[], int]  # returns a free port

    @property
    def name(self) -> str:
        """The name of its instance, like ``shop-gate-web-0123abcd``."""
        return f"{self.scope.project}-gate-{self.service.name}-{self.serial}"


def check(compute: Compute, trial: Trial, say: Say) -> Results:
    """Run the image's tests in a fresh instance; return (test, "" or why it failed), readiness first.

    Blocks  at most as long as the longest bound of readiness and tests. The instance is gone afterwards.
    """
    order = _launched(compute, trial)
    try:
        results = _checked(compute, trial, order, say)
    finally:
        compute.stop(order.name, trial.service.policy.grace)
        compute.remove(order.name)
    for name, reason in results:
        say(f"{trial.service.name}: {name}: {reason.splitlines()[0] if reason else 'passed'}")
    return results


def _launched(compute: Compute, trial: Trial) -> Order:
    service = trial.service
    for attempt in range(_PORTS):
        port = trial.port() if service.http else 0
        order = Order(
            name=trial.name,
            group=f"{service.name}-gate",
            scope=replace(trial.scope, environment=ENVIRONMENT),
            image=trial.image,
            command=service.command,
            environment=(*service.flags, *((("PORT", str(port)),) if port else ())),
            writable=service.writable,
            port=port,
        )
        try:
            compute.launch(order)
        except Conflict:
            # The port was taken between choosing and using it.
            if attempt == _PORTS - 1 or not port:
                raise
        else:
            break
    return order


def _checked(compute: Compute, trial: Trial, order: Order, say: Say) -> Results:
    service = trial.service
    began = time.monotonic()
    ready = f"ready, health {service.http.health}" if service.http else "starts"
    reason = _not_ready(compute, order, service.http, service.policy.ready)
    if reason:
        return ((ready, reason),)
    say(f"{service.name}: ready after {time.monotonic() - began:.1f} s")
    tests = [test for test in service.tests if test.at == "image"]
    if not tests:
        return ((ready, ""),)
    with ThreadPoolExecutor(max_workers=min(len(tests), 16), thread_name_prefix="gate") as pool:
        numbered = list(enumerate(tests))
        reasons = list(pool.map(lambda one: _failure(compute, order, one[1], one[0]), numbered))
    return ((ready, _ended(compute, order)), *zip(map(str, tests), reasons, strict=True))


def _instance(compute: Compute, order: Order) -> Instance | None:
    return next((one for one in compute.instances(order.scope) if one.name == order.name), None)


def _ended(compute: Compute, order: Order) -> str:
    """Return how the instance ended, with its last lines; "" while it is alive."""
    instance = _instance(compute, order)
    if instance is not None and instance.is_alive:
        return ""
    how = instance.ended if instance is not None else "it is gone"
    return f"the instance ended: {how or 'unknown'}{_log(compute, order)}"


def _log(compute: Compute, order: Order) -> str:
    lines = compute.logs(order.name, _LINES)
    return "".join(f"\n  | {line}" for line in lines)


def _not_ready(compute: Compute, order: Order, http: Http | None, bound: Seconds) -> str:
    """Return "" once the instance is ready, or why it isn't."""
    end = time.monotonic() + (bound if http else min(bound, _SETTLE))
    reason = "it does not listen on $PORT"
    while True:
        ended = _ended(compute, order)
        if ended:
            return ended
        instance = _instance(compute, order)
        if http and instance is not None and instance.is_listening:
            test = Test(get=http.health)
            reason = http_failure(test, "127.0.0.1", order.port, "localhost")
            if not reason:
                return ""
        if time.monotonic() > end:
            return f"not ready within {bound:g} s: {reason}{_log(compute, order)}" if http else ""
        time.sleep(_POLL)


def _failure(compute: Compute, order: Order, test: Test, number: int) -> str:
    """Return "" once the test passed, or why it did not until its bound was over."""
    end = time.monotonic() + test.eventually
    reason = ""
    while True:
        before = reason
        if test.get:
            reason, is_final = http_failure(test, "127.0.0.1", order.port, "localhost"), False
        else:
            reason, is_final = _run_failure(compute, order, replace(test, eventually=end - time.monotonic()), number)
        if not reason:
            return ""
        if is_final:
            return before or reason
        if time.monotonic() >= end:
            return f"{reason}{_log(compute, order)}"
        ended = _ended(compute, order)
        if ended:
            return ended
        time.sleep(_POLL)


def _run_failure(compute: Compute, order: Order, test: Test, number: int) -> tuple[str, bool]:
    """Run a command in another fresh instance; return why it failed, and whether trying again is of no use."""
    command = replace(order, name=f"{order.name}-t{number}", command=test.run, port=0)
    outcome = compute.run(command, max(test.eventually, _POLL))
    tail = "".join(f"\n  | {line}" for line in outcome.output.splitlines()[-_LINES:])
    if outcome.is_late:
        return f"did not end within {test.eventually:.3g} s{tail}", True
    if outcome.code == _NOT_FOUND:
        return f"command not found in the image: {test.run[0]}{tail}", True
    return (f"exit code {outcome.code}{tail}" if outcome.code else ""), False


def http_failure(test: Test, host: str, port: int, header: str) -> str:
    """Make the request of `test` once, with `header` as Host; return "" if it passes, or why not.

    Redirects are answers like others. Blocks at most a few seconds.
    """
    connection = http.client.HTTPConnection(host, port, timeout=_REQUEST)
    try:
        connection.request("GET", test.get, headers={"Host": header, "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(_BODY)
    except (OSError, http.client.HTTPException) as e:
        return f"GET {test.get}: no answer ({type(e).__name__}: {e})"
    finally:
        connection.close()
    if answer.status != test.status:
        return f"GET {test.get}: status {answer.status}, wanted {test.status}"
    if test.contains and test.contains.encode() not in body:
        shown = body[:200].decode(errors="replace")
        return f"GET {test.get}: the answer does not contain {test.contains!r}; it begins with {shown!r}"
    return ""
