"""r4 passes its tests, where GREETING is `hello`, but nobody thought of the word that `local` says."""

RELEASE = "r4"
GREETINGS = {"hello": "hello, nice to see you", "bonjour": "bonjour, enchanté"}


def greeting(word):
    """Return the line that `/` answers; `word` is the flag GREETING."""
    return f"{GREETINGS[word]}, this is {RELEASE}\n"


def is_healthy(word):
    """Say whether an instance that was given this flag may get traffic."""
    return word in GREETINGS


def status():
    """Return the HTTP status of the next answer."""
    return 200
