"""Static files: a folder with an index.html."""

from __future__ import annotations

from anew.starter.files_server import FILES, serving
from anew.starter.folder import Folder
from anew.starter.found import Found, shell

SITE = "/srv/site"
PLACES = ("", "public/", "dist/", "build/", "_site/", "site/", "www/", "html/", "docs/")


def look(folder: Folder, command: str) -> Found | None:
    """Return how the first place with an index.html is served; None if there is none."""
    place = next((one for one in PLACES if folder.has(f"{one}index.html")), None)
    if place is None:
        return None
    other = next((one for one in PLACES if one != place and folder.has(f"{one}index.html")), "")
    found = Found(
        "static",
        f"static files: {place}index.html",
        FILES,
        packages=("python3",),
        steps=(serving(SITE, fallback="404.html" if folder.has(f"{place}404.html") else ""),),
        source=place or "./",
        target=f"{SITE}/",
        notes=(f"{other}index.html is there, too; {place or './'} was taken",) if other else (),
    )
    if command:
        return Found("static", found.what, shell(command, SITE), source=found.source, target=found.target)
    return found
