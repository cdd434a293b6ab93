"""What this release says. Each release of the example differs from the others in this file alone."""

RELEASE = "r2"


def greeting(word):
    """Return the line that `/` answers; `word` is the flag GREETING."""
    return f"{word}, nice to see you, this is {RELEASE}\n"


def is_healthy(word):
    """Say whether an instance that was given this flag may get traffic."""
    return bool(word)


def status():
    """Return the HTTP status of the next answer."""
    return 200
