"""The examples in the docstrings of core are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import anew.core

MODULES = [one.name for one in pkgutil.walk_packages(anew.core.__path__, "anew.core.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) >= 15
