"""Finding programs: by the dotted name of their module, and those installed."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import ConfigurationError
from acoupi.system.constants import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from types import ModuleType

    from acoupi.programs import AcoupiProgram

__all__ = [
    "InstalledProgram",
    "ProgramError",
    "folder_of_the_shell",
    "list_programs",
    "load_program",
    "load_program_class",
]


class ProgramError(ConfigurationError):
    """A module is not a usable program."""


@dataclass(frozen=True)
class InstalledProgram:
    """A program that an installed package lists."""

    name: str
    """Short name given by its package."""
    module: str
    """Dotted name of its module, which is what a setup takes."""
    distribution: str | None = None
    """Package that lists it."""
    description: str = ""
    """First line of the program's documentation; empty when it was not loaded."""
    problem: str | None = None
    """Why it cannot be loaded; None when it can, or was not tried."""


def list_programs(*, load: bool = False) -> list[InstalledProgram]:
    """List the programs that installed packages provide, sorted by module.

    Parameters
    ----------
    load : bool
        Import each, for its description; a broken one is listed with its problem.
    """
    found: dict[str, InstalledProgram] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        module = entry.value.split(":")[0].strip()
        distribution = entry.dist.name if entry.dist is not None else None
        description, problem = "", None
        if load:
            try:
                description = _first_line(load_program(module))
            except ProgramError as error:
                problem = str(error)
        found.setdefault(
            module,
            InstalledProgram(entry.name, module, distribution, description, problem),
        )
    return [found[module] for module in sorted(found)]


def load_program(module: str) -> type[AcoupiProgram[Any]]:
    """Return the program that a module defines.

    Parameters
    ----------
    module : str
        Dotted name of a module on the Python path.

    Raises
    ------
    ProgramError
        If there is no such module, if importing it raises (the message is then that
        of its own error), or if it does not define exactly one concrete program, with
        a configuration schema.
    """
    from acoupi.programs import AcoupiProgram

    imported = _import(module)
    # The base is abstract, which mypy does not take for a class.
    base: Any = AcoupiProgram
    classes = _defined_programs(imported, base)
    if not classes:
        raise ProgramError(
            f"module {module!r} defines no program: it needs one concrete subclass "
            "of acoupi.programs.AcoupiProgram"
        )
    if len(classes) > 1:
        names = ", ".join(sorted(cls.__name__ for cls in classes))
        raise ProgramError(
            f"module {module!r} defines more than one program ({names}): keep one, "
            "and move the others to modules of their own"
        )
    try:
        classes[0].get_config_schema()
    except TypeError as error:
        raise ProgramError(f"program {module!r}: {error}") from error
    return classes[0]


def folder_of_the_shell(module: str) -> Path | None:
    """Return the folder of PYTHONPATH in which a program's module was found.

    Services do not have the shell's variables, so that they would not find it. None
    when it is installed, or found without that variable.

    Parameters
    ----------
    module : str
        Dotted name of a module that can be imported.
    """
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = [*(spec.submodule_search_locations or ())] if spec else []
    if spec and spec.origin and not places:
        places = [spec.origin]
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = {Path(name or ".").resolve() for name in named if named != [""]}
    for place in places:
        folder = Path(place).resolve().parent
        if folder in folders:
            return folder
    return None


def load_program_class(module: str) -> type[AcoupiProgram[Any]]:
    """Return the program that a module defines; the same as `load_program`."""
    return load_program(module)


def _import(module: str) -> ModuleType:
    if not module or not all(part.isidentifier() for part in module.split(".")):
        raise ProgramError(
            f"{module!r} is not the dotted name of a module{_suggestion(module)}"
        )
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ProgramError(
                f"there is no module {module!r} on the Python path"
                f"{_suggestion_here(module) or _suggestion(module)}"
            ) from error
        raise _import_failure(module, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failure(module, error) from error


def _suggestion_here(module: str) -> str:
    here = Path(module.replace(".", "/"))
    if here.is_dir() or here.with_suffix(".py").is_file():
        return (
            ", but it is in this folder: install its package with pip, or to try it "
            'out, put the folder on the path: export PYTHONPATH="$PWD"'
        )
    return ""


def _import_failure(module: str, error: BaseException) -> ProgramError:
    where = ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    # A syntax error names its own place; the last frame is the importing machinery's.
    if own and own[-1].filename != __file__ and not isinstance(error, SyntaxError):
        where = f" ({own[-1].filename}, line {own[-1].lineno})"
    return ProgramError(
        f"program {module!r} fails on import: "
        f"{type(error).__name__}: {str(error) or 'no message'}{where}"
    )


def _suggestion(module: str) -> str:
    installed = list_programs()
    known = {entry.module: entry.module for entry in installed}
    known.update({entry.name: entry.module for entry in installed})
    close = difflib.get_close_matches(module, known, n=1, cutoff=0.6)
    if close and known[close[0]] != module:
        return f"; did you mean {known[close[0]]!r}?"
    names = ", ".join(entry.module for entry in installed)
    return f"; installed programs: {names}" if names else ""


def _defined_programs(
    module: ModuleType, base: type[AcoupiProgram[Any]]
) -> list[type[AcoupiProgram[Any]]]:
    names = {*vars(module), *getattr(module, "__all__", ())}
    candidates = {
        value
        for value in (getattr(module, name, None) for name in sorted(names))
        if inspect.isclass(value)
        and issubclass(value, base)
        and value is not base
        and not inspect.isabstract(value)
    }
    own = [cls for cls in candidates if cls.__module__ == module.__name__]
    if own:
        return own
    # A package may show the program that one of its own modules defines.
    inside = f"{module.__name__}."
    return [cls for cls in candidates if cls.__module__.startswith(inside)]


def _first_line(program: type[AcoupiProgram[Any]]) -> str:
    documentation = inspect.getdoc(program) or ""
    return documentation.splitlines()[0] if documentation else ""
