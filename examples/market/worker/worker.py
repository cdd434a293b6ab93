"""Takes orders from the cache, checks their signatures, and counts them."""

import hashlib
import hmac
import signal
import threading

from service import DONE, FORGED, QUEUE, Cache, secret

KEY = secret("signing_key")


def take(cache):
    """Do one piece of work; return whether there was any."""
    order = cache.ask("LPOP", QUEUE)
    if order is None:
        return False
    number, _, signature = order.partition(b":")
    good = hmac.compare_digest(hmac.new(KEY, number, hashlib.sha256).hexdigest().encode(), signature)
    cache.ask("INCR", DONE if good else FORGED)
    return True


if __name__ == "__main__":
    TOLD = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: TOLD.set())
    CACHE = Cache()
    while not TOLD.is_set():  # an order that was taken is finished first
        try:
            if not take(CACHE):
                TOLD.wait(0.05)
        except OSError as error:
            print(f"no cache: {error}", flush=True)
            TOLD.wait(0.5)
