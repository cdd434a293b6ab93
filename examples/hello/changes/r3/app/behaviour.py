"""r3 looks healthy and passes its tests, but one answer in five is a 500."""

import itertools

RELEASE = "r3"
TURNS = itertools.count(1)


def greeting(word):
    """Return the line that `/` answers; `word` is the flag GREETING."""
    return f"{word}, nice to see you again, this is {RELEASE}\n"


def is_healthy(word):
    """Say whether an instance that was given this flag may get traffic."""
    return bool(word)


def status():
    """Return the HTTP status of the next answer."""
    return 500 if next(TURNS) % 5 == 0 else 200
