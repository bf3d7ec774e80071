"""Nix for these tests, with a store and a state of its own."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TREE = os.environ.get("NIXPKGS_TREE")
"""A nixpkgs tree; what needs one is skipped without."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare what is skipped where there is no nixpkgs."""
    config.addinivalue_line(
        "markers", "nixpkgs: needs a nixpkgs tree, named by NIXPKGS_TREE"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a tree that is not given, or Nix, which is not there."""
    if shutil.which("nix-instantiate") is None:
        reason = "nix-instantiate is missing"
    elif not TREE:
        reason = "NIXPKGS_TREE names no nixpkgs tree: not evaluated"
    else:
        return
    for item in items:
        if item.get_closest_marker("nixpkgs"):
            item.add_marker(pytest.mark.skip(reason))


Nix = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """Return a function that runs nix-instantiate, as nobody in particular."""
    state = tmp_path_factory.mktemp("nix")
    environment = {
        **os.environ,
        "NIX_STORE_DIR": str(state / "store"),
        "NIX_STATE_DIR": str(state / "var"),
        "NIX_LOG_DIR": str(state / "log"),
        "NIX_CONF_DIR": str(state / "etc"),
        "HOME": str(state),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nix-instantiate", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def evaluate(nix: Nix) -> Callable[[str], Any]:
    """Return a function that evaluates an expression to plain data."""

    def run(expression: str) -> Any:
        done = nix("--eval", "--strict", "--json", "--expr", expression)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def instantiate(nix: Nix) -> Nix:
    """Return a function that evaluates an attribute of a file, given the tree."""

    @functools.cache
    def run(file: Path, attribute: str) -> subprocess.CompletedProcess[str]:
        return nix(
            *("--eval", "--strict", "--json", "--read-write-mode"),
            *("--arg", "tree", str(TREE), str(file), "-A", attribute),
        )

    return run


@pytest.fixture(scope="session")
def attribute_of(instantiate: Nix) -> Callable[[Path, str], Any]:
    """Return a function that evaluates an attribute of a file to plain data."""

    def run(file: Path, attribute: str) -> Any:
        done = instantiate(file, attribute)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run
