"""The layers of the package import one way only, and start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "acoupi"

# A layer may import itself and what stands after it.
LAYERS = ["cli", "system", "programs", "tasks", "components", "audio", "data", "errors"]
# The published fakes serve authors of programs and may touch every layer.
OUTSIDE = {"testing", "__init__", "__main__"}


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "acoupi" and len(parts) > 1 else None


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            if module == "acoupi":
                found += [(node.lineno, f"acoupi.{a.name}") for a in node.names]
            else:
                found.append((node.lineno, module))
    return found


def module_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_point_one_way() -> None:
    wrong = []
    for path in module_files():
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own in OUTSIDE:
            continue
        for line, module in imports_of(path):
            layer = layer_of(module)
            if layer is None or layer.startswith("__"):
                continue
            assert layer in LAYERS, f"{path}:{line}: unknown layer {layer}"
            if LAYERS.index(layer) < LAYERS.index(own):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {module}")
    assert wrong == []


@pytest.mark.parametrize("layer", ["audio", "components"])
def test_sound_and_components_know_no_celery(layer: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {module}"
        for path in sorted((PACKAGE / layer).rglob("*.py"))
        for line, module in imports_of(path)
        if module.split(".")[0] in {"celery", "kombu"}
    ]
    assert wrong == []


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    long = {
        str(path.relative_to(PACKAGE)): count
        for path in module_files()
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module", ["acoupi", "acoupi.components", "acoupi.tasks", "acoupi.programs"]
)
def test_importing_a_package_loads_nothing_heavy(module: str) -> None:
    heavy = {"numpy", "celery", "httpx", "paho", "astral", "soundfile", "sounddevice"}
    assert loaded_after(f"import {module}") & heavy == set()


def test_importing_acoupi_is_almost_free() -> None:
    assert "pydantic" not in loaded_after("import acoupi")
