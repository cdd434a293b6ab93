"""The way in: asks the catalogue and the cart, and says what an order costs.

The contract with the catalogue changed between versions: odd ones price an item in cents, even ones in an object.
A gateway reads the form of its own version and knows no other.
"""

import os

from service import Server, fetch, version

VERSION = version()


def price(item):
    """Return what an item costs, in cents."""
    return item["price_cents"] if VERSION % 2 else item["price"]["amount"]


def home():
    """Order one of everything."""
    found = fetch(os.environ["CATALOGUE_URL"] + "/items")
    order = fetch(os.environ["CART_URL"] + "/add")
    return {
        "gateway": VERSION,
        "catalogue": found["version"],
        "total": sum(price(item) for item in found["items"]),
        "order": order["order"],
    }


if __name__ == "__main__":
    Server({"/": home}).serve_until_told()
