"""Takes orders: signs each one and leaves it in the cache for a worker."""

import hashlib
import hmac

from service import QUEUE, Cache, Server, secret

CACHE = Cache()
KEY = secret("signing_key")


def add():
    """Take one order."""
    number = CACHE.ask("INCR", "number")
    signature = hmac.new(KEY, str(number).encode(), hashlib.sha256).hexdigest()
    CACHE.ask("RPUSH", QUEUE, f"{number}:{signature}")
    return {"order": number}


if __name__ == "__main__":
    Server({"/add": add}).serve_until_told()
