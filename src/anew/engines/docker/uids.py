"""Which uid of the host an instance runs under: as on the embedded engine, one that no account has."""

from __future__ import annotations

import zlib

from anew.engines.embedded.uids import FIRST, FIRST_WITHOUT_PORT

SPREAD = 65_536


def uid_of(name: str, port: int) -> int:
    """Return the uid for an instance without volumes.

    Containers keep instances apart even where two have the same; that they hardly ever have is one wall more.

    >>> uid_of("shop-production-web-g3-1", 20001)
    720001
    """
    return FIRST + port if port else FIRST_WITHOUT_PORT + zlib.crc32(name.encode()) % SPREAD
