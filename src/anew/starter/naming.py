"""The name of a project, made from the name of its folder."""

from __future__ import annotations

import re
import unicodedata

from anew.core.names import MOST, SUFFIX, is_label

SERVICE = "web"
LONGEST = MOST - len(f"-production-{SERVICE}{SUFFIX}")  # so that an environment can be named `production`


def project_name(folder: str) -> str:
    """Return a project's name for a folder's: a DNS label that leaves room for service, environment and ordinal.

    >>> project_name("My Shop_2"), project_name("2048"), project_name("Größe"), project_name("…")
    ('my-shop-2', 'app-2048', 'grosse', 'app')
    """
    plain = unicodedata.normalize("NFKD", folder.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    label = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not is_label(label[:1]):
        label = f"app-{label}".strip("-")
    return label[:LONGEST].strip("-")
