"""Takes orders from the cache, checks their signatures, and counts them."""

import hashlib
import hmac
import signal
import threading

from service import DONE, FORGED, QUEUE, Cache, secret

KEY = secret("signing_key")
# In one go: who dies before has taken nothing, and of two who have looked at the same order one counts it.
COUNT = "if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then redis.call('INCR', KEYS[2]) end"


def take(cache):
    """Do one piece of work; return whether there was any."""
    order = cache.ask("LINDEX", QUEUE, "0")
    if order is None:
        return False
    number, _, signature = order.partition(b":")
    good = hmac.compare_digest(hmac.new(KEY, number, hashlib.sha256).hexdigest().encode(), signature)
    cache.ask("EVAL", COUNT, "2", QUEUE, DONE if good else FORGED, order.decode())
    return True


if __name__ == "__main__":
    TOLD = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: TOLD.set())
    CACHE = Cache()
    while not TOLD.is_set():  # an order that was begun is finished first
        try:
            if not take(CACHE):
                TOLD.wait(0.05)
        except OSError as error:
            print(f"no cache: {error}", flush=True)
            TOLD.wait(0.5)
