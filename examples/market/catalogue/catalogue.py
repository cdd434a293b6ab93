"""What there is, and what it costs; each version answers in its own form and in the one before it."""

from service import Server, version

VERSION = version()
PRICES = {"apple": 120, "bread": 350, "cheese": 890}


def items():
    """Return everything that can be ordered."""
    return {
        "version": VERSION,
        "items": [
            {"name": name, "price_cents": cents, "price": {"amount": cents, "currency": "EUR"}}
            for name, cents in PRICES.items()
        ],
    }


if __name__ == "__main__":
    Server({"/items": items}).serve_until_told()
