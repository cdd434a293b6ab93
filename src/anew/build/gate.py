"""The image gate: tests on fresh instances of packed images, in a throwaway environment of its own.

The tested service runs with all that it needs, from the same release. Every wait has a bound and is on a condition. An
instance that dies, or a command that the image does not have, closes the gate at once; it is told with the last lines
that the instance wrote.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from anew.build.gate_ready import HOST, POLL, http_failure, log, tail
from anew.build.gate_rehearsal import Place, Rehearsal
from anew.model import Order, Service, Test, Trial
from anew.ports import Compute, Say

_NOT_FOUND = 127  # exit code of a command that isn't there
_AT_ONCE = 16

Results = tuple[tuple[str, str], ...]


def check(compute: Compute, trial: Trial, place: Place, say: Say) -> Results:
    """Run the tests of the last actor of `trial`; return (test, "" or why it failed), readiness first.

    A job is not started: only its tests are run. What it takes to run the others is told only where it failed, as
    (``needs api``, why).

    Blocks  at most as long as the bounds of readiness along the longest chain of needs, and the longest of the tests.
            The instances are gone afterwards.
    """
    service = trial.tested.service
    results = _checked(Rehearsal(compute, trial, place, say)) if _has_something(service) else (("nothing to test", ""),)
    for name, reason in results:
        say(f"{service.name}: {name}: {reason.splitlines()[0] if reason else 'passed'}")
    return results


def _has_something(service: Service) -> bool:
    return service.kind != "job" or any(test.at == "image" for test in service.tests)


def _checked(rehearsal: Rehearsal) -> Results:
    try:
        reasons = rehearsal.start()
        if reasons:
            # A callee may have ended after it was ready, and that be why its caller isn't.
            return _stood(rehearsal, {**rehearsal.ended(), **reasons})
        tests = tuple(test for test in rehearsal.trial.tested.service.tests if test.at == "image")
        results = _tested(rehearsal, tests)
        ended = rehearsal.ended()
        own = () if _last(rehearsal) in ended or _is_job(rehearsal) else ((_ready(rehearsal.trial.tested.service), ""),)
        return (*_stood(rehearsal, ended), *own, *results)
    finally:
        rehearsal.stop()


def _stood(rehearsal: Rehearsal, reasons: dict[int, str]) -> Results:
    """Return a result for each instance that did not stand, callees first."""
    results = []
    for number, why in sorted(reasons.items()):
        service = rehearsal.trial.actors[number].part.service
        is_own = number == _last(rehearsal)
        results.append((_ready(service), why) if is_own else (f"needs {service.name}", why))
    return tuple(results)


def _last(rehearsal: Rehearsal) -> int:
    return len(rehearsal.trial.actors) - 1


def _is_job(rehearsal: Rehearsal) -> bool:
    return rehearsal.trial.tested.service.kind == "job"


def _ready(service: Service) -> str:
    if service.http:
        return f"ready, health {service.http.health}"
    return "ready, listens" if service.is_tcp else "starts"


def _tested(rehearsal: Rehearsal, tests: tuple[Test, ...]) -> Results:
    if not tests:
        return ()
    with ThreadPoolExecutor(max_workers=min(len(tests), _AT_ONCE), thread_name_prefix="gate") as pool:
        reasons = pool.map(lambda one: _failure(rehearsal, one[1], one[0]), enumerate(tests))
        return tuple(zip(map(str, tests), reasons, strict=True))


def _failure(rehearsal: Rehearsal, test: Test, number: int) -> str:
    """Return "" once the test passed, or why it did not until its bound was over."""
    order = rehearsal.orders[_last(rehearsal)]
    end = time.monotonic() + test.eventually
    reason = ""
    while True:
        before = reason
        if test.get:
            reason, is_final = http_failure(test, HOST, order.port, "localhost"), False
        else:
            left = replace(test, eventually=end - time.monotonic())
            reason, is_final = _run_failure(rehearsal.compute, order, left, number)
        if not reason:
            return ""
        if is_final:
            return before or reason
        if time.monotonic() >= end:
            return f"{reason}{_log(rehearsal, order)}"
        ended = rehearsal.ended()
        if ended:
            return _cause(rehearsal, ended)
        time.sleep(POLL)


def _cause(rehearsal: Rehearsal, ended: dict[int, str]) -> str:
    """Say which instance ended; of several the deepest callee, for the others may have ended because of it."""
    number = min(ended)
    name = rehearsal.trial.actors[number].part.service.name
    return ended[number] if number == _last(rehearsal) else f"{name}, which it needs: {ended[number]}"


def _log(rehearsal: Rehearsal, order: Order) -> str:
    return "" if _is_job(rehearsal) else log(rehearsal.compute, order)


def _run_failure(compute: Compute, order: Order, test: Test, number: int) -> tuple[str, bool]:
    """Run a command in another fresh instance; return why it failed, and whether trying again is of no use."""
    command = replace(order, name=f"{order.name}-t{number}", command=test.run, port=0)
    outcome = compute.run(command, max(test.eventually, POLL))
    said = tail(outcome.output.splitlines())
    if outcome.is_late:
        return f"did not end within {test.eventually:.3g} s{said}", True
    if outcome.code == _NOT_FOUND:
        return f"command not found in the image: {test.run[0]}{said}", True
    return (f"exit code {outcome.code}{said}" if outcome.code else ""), False
