"""Deaths: told by the kernel the moment they happen, so that a keeper at rest need not look for them.

Rules

1. It is news and not truth: what has ended, and whether it matters, the next look finds out.
2. A handle is opened after the look that named the process, so a process may have ended in between, and its id may be
   another's. Whoever opens one looks once more: what that look still finds alive is what the handle stands for.
3. What can't be watched has to be looked for, again and again: `is_complete` is false then.
"""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Iterable

SHARE = 2  # of the descriptors that a process may have open, one in so many is for this


class Deaths:
    """Watches processes by their ids. Belongs to one thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handles: dict[int, int] = {}  # process → its handle
        self._ended: set[int] = set()  # are named though they have ended, so there is nothing to watch any more
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE
        self.is_complete = True

    def fileno(self) -> int:
        """Return a descriptor that can be read while there is a death that `watch` has not seen."""
        return self._poll.fileno()

    def watch(self, pids: Iterable[int]) -> bool:
        """Watch exactly the processes `pids`, 0 is none; return whether to look again at once, as rule 2 says.

        Idempotent. Of more than there are descriptors for, those named first are watched.
        """
        wanted = dict.fromkeys(pid for pid in pids if pid)
        ready = {handle for handle, _ in self._poll.poll(0)}
        over = {pid for pid, handle in self._handles.items() if handle in ready}
        for pid in over | (self._handles.keys() - wanted.keys()):
            self._drop(pid)
        news = [over & wanted.keys()]
        self._ended = (self._ended | over) & wanted.keys()
        fresh = [pid for pid in wanted if pid not in self._handles and pid not in self._ended]
        news.append({pid for pid in fresh if self._take(pid)})
        self.is_complete = not self._ended and len(self._handles) == len(wanted)
        return any(news)

    def close(self) -> None:
        """Let go of everything."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        self._poll.close()

    def _take(self, pid: int) -> bool:
        """Watch one more process, if that can be; return whether there is news of it."""
        if len(self._handles) >= self._most:
            return False
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended.add(pid)
            return True
        except OSError:  # the kernel can't do this, or has no descriptors left: the looking goes on, as rule 3 says
            return False
        self._handles[pid] = handle
        self._poll.register(handle, select.EPOLLIN)
        return True

    def _drop(self, pid: int) -> None:
        handle = self._handles.pop(pid)
        self._poll.unregister(handle)  # closing is not enough: a child that is just being started may have it too
        os.close(handle)
