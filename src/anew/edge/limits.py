"""What this machine and this user allow an edge."""

from __future__ import annotations

import os
import resource

from anew.edge.render import Limits

WORKER_UID = 65_533  # where root starts them; reserved by Debian policy, and nobody's
MOST_CONNECTIONS = 10_000
RESERVED_FILES = 1_000  # descriptors for listeners, checks and logs
MOST_THREADS = 4


def limits() -> Limits:
    """Return what this machine and this user allow the edge."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_CONNECTIONS * 3 if hard == resource.RLIM_INFINITY else hard
    connections = max(100, min(MOST_CONNECTIONS, (files - RESERVED_FILES) // 2))
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    return Limits(connections, threads, WORKER_UID if os.geteuid() == 0 else None)
