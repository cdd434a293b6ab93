"""r5 has a slip in its greeting, which its own test finds."""

RELEASE = "r5"


def greeting(word):
    """Return the line that `/` answers; `word` is the flag GREETING."""
    return f"{word[:-1]}, this is {RELEASE}\n"


def is_healthy(word):
    """Say whether an instance that was given this flag may get traffic."""
    return bool(word)


def status():
    """Return the HTTP status of the next answer."""
    return 200
