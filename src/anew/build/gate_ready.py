"""What the image gate sees of an instance: whether it is ready, how it ended, and what it answers.

Ready is an HTTP service whose health answers 200, a TCP service that listens, and a worker that has been alive for a
while.
"""

from __future__ import annotations

import http.client
import socket
import string
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import quote

from anew.model import Instance, Order, Seconds, Service, Test
from anew.ports import Compute

HOST = "127.0.0.1"
POLL: Seconds = 0.05
LINES = 15  # of the log, in a reason
_REQUEST: Seconds = 5.0  # bound of one request
_BODY = 1 << 20  # bytes of an answer that are searched


def not_ready(compute: Compute, order: Order, service: Service, is_given_up: Callable[[], bool]) -> str | None:
    """Wait until the instance of `order` is ready; return "" then, or why it isn't, or None if it was given up.

    Blocks  at most `ready` of the service's rollout; a worker, as long as it has to be alive to be ready.
    """
    bound = service.policy.ready if order.port else service.ready_after
    end = time.monotonic() + bound
    while not is_given_up():
        instance = next((one for one in compute.instances(order.scope) if one.name == order.name), None)
        end_of_it = _ended(compute, order, instance)
        if end_of_it:
            return end_of_it
        reason = _unreadiness(order, service, is_listening=instance is not None and instance.is_listening)
        if order.port and not reason:
            return ""
        if time.monotonic() > end:
            return f"not ready within {bound:g} s: {reason}{log(compute, order)}" if order.port else ""
        time.sleep(POLL)
    return None


def ended(compute: Compute, orders: Iterable[Order]) -> tuple[str, ...]:
    """Return how each instance ended, with its last lines; "" while it is alive."""
    asked = tuple(orders)
    seen = {one.name: one for scope in {order.scope for order in asked} for one in compute.instances(scope)}
    return tuple(_ended(compute, order, seen.get(order.name)) for order in asked)


def log(compute: Compute, order: Order) -> str:
    """Return the last lines that an instance wrote, as they stand in a reason."""
    return tail(compute.logs(order.name, LINES))


def tail(lines: Sequence[str]) -> str:
    """Return the last of some lines, as they stand in a reason."""
    return "".join(f"\n  | {line}" for line in lines[-LINES:])


def http_failure(test: Test, host: str, port: int, header: str) -> str:
    """Make the request of `test` once, with `header` as Host; return "" if it passes, or why not.

    Redirects are answers like others. Blocks at most a few seconds, however slowly the answer comes.
    """
    connection = http.client.HTTPConnection(host, port, timeout=_REQUEST)
    try:
        connection.connect()
        with _bounded(connection.sock):
            path = quote(test.get, safe=string.printable)
            connection.request("GET", path, headers={"Host": header, "Connection": "close"})
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


@contextmanager
def _bounded(connection: socket.socket) -> Iterator[None]:
    """End a connection when a request has taken too long; raise TimeoutError then, whatever came of it."""
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):  # it has just ended by itself
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_REQUEST, end)
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as e:
        if not is_over.is_set():
            raise
        raise _late() from e
    finally:
        timer.cancel()
    if is_over.is_set():
        raise _late()


def _late() -> TimeoutError:
    return TimeoutError(f"not complete after {_REQUEST:g} s")


def _unreadiness(order: Order, service: Service, *, is_listening: bool) -> str:
    if not is_listening:
        return "it does not listen on $PORT"
    return http_failure(Test(get=service.http.health), HOST, order.port, "localhost") if service.http else ""


def _ended(compute: Compute, order: Order, instance: Instance | None) -> str:
    if instance is not None and instance.is_alive:
        return ""
    how = instance.ended if instance is not None else "it is gone"
    return f"the instance ended: {how or 'unknown'}{log(compute, order)}"
