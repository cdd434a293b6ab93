"""Several transfers at once: the first that fails ends all, and what ends a command ends them too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from anew.registry.wire import Wire

AT_ONCE = 6
_Result = TypeVar("_Result")


def together(wire: Wire, tasks: Sequence[Callable[[], _Result]]) -> tuple[_Result, ...]:
    """Return what each task returns, in their order. Raises what the first one to fail raised."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="registry") as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            ended = wait(futures, return_when=FIRST_EXCEPTION).done
            failed = [one for one in ended if one.exception() is not None]
            if failed:
                failed[0].result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            wire.close()
            raise
        return tuple(one.result() for one in futures)
