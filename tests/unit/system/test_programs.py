"""Programs are found by the dotted name of their module."""

from __future__ import annotations

import sys

import pytest

from acoupi.system import list_programs, load_program, load_program_class
from acoupi.system.programs import ProgramError

PROGRAM = """
from pydantic import BaseModel
from acoupi.programs import AcoupiProgram

class Config(BaseModel):
    pass

class {name}(AcoupiProgram[Config]):
    config_schema = Config
    def setup(self, config):
        pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that writes a module onto the Python path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> str:
        file = tmp_path / (name.replace(".", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("prg_"):
            del sys.modules[name]


def test_the_program_that_a_module_defines_is_loaded(package):
    module = package("prg_one", PROGRAM.format(name="One"))
    assert load_program(module).__name__ == "One"
    assert load_program_class(module) is load_program(module)


def test_a_program_that_is_only_imported_does_not_count(package):
    package("prg_base", PROGRAM.format(name="Base"))
    module = package(
        "prg_child",
        "from prg_base import Base, Config\n"
        "class Child(Base):\n    def setup(self, config): pass\n",
    )
    assert load_program(module).__name__ == "Child"


def test_a_package_may_show_the_program_of_its_own_module(package):
    package("prg_pkg.program", PROGRAM.format(name="Inner"))
    package("prg_pkg.__init__", "from prg_pkg.program import Inner\n")
    assert load_program("prg_pkg").__name__ == "Inner"


def test_an_abstract_program_does_not_count(package):
    module = package(
        "prg_abstract",
        PROGRAM.format(name="One")
        + "\nclass Half(AcoupiProgram[Config]):\n    config_schema = Config\n",
    )
    assert load_program(module).__name__ == "One"


def test_more_than_one_program_is_an_error_that_names_them(package):
    module = package(
        "prg_two",
        PROGRAM.format(name="One")
        + "\nclass Two(AcoupiProgram[Config]):\n    def setup(self, config): pass\n",
    )
    with pytest.raises(ProgramError, match="One, Two"):
        load_program(module)


def test_a_module_without_a_program_is_an_error_that_says_what_it_needs(package):
    module = package("prg_none", "x = 1\n")
    with pytest.raises(ProgramError, match="AcoupiProgram"):
        load_program(module)


def test_an_unknown_module_is_an_error_with_the_nearest_installed_one():
    with pytest.raises(ProgramError, match=r"mean 'acoupi\.programs\.default'"):
        load_program("acoupi.programs.defualt")


def test_the_short_name_of_an_installed_program_leads_to_its_module():
    with pytest.raises(ProgramError, match=r"mean 'acoupi\.programs\.connected'"):
        load_program("connected")


def test_an_unknown_module_far_from_any_lists_those_installed():
    with pytest.raises(ProgramError, match=r"installed programs: .*default"):
        load_program("zzzzzzzzzzzzzz")


@pytest.mark.parametrize("name", ["", "a b", "a..b", "../x", "x.py:y", "a/b"])
def test_what_is_no_dotted_name_is_said_to_be_none(name):
    with pytest.raises(ProgramError, match="not the dotted name"):
        load_program(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_runtime\n", "no_such_runtime"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("def f(:\n", "SyntaxError"),
        ("from acoupi.data import NoSuch\n", "NoSuch"),
    ],
)
def test_an_error_inside_the_module_is_shown_as_itself(package, text, said):
    module = package(f"prg_bad_{abs(hash(text))}", text)
    with pytest.raises(ProgramError, match=said) as caught:
        load_program(module)
    assert "fails on import" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_package_that_misses_a_module_of_its_own_is_an_import_failure(package):
    package("prg_broken.__init__", "import prg_broken.gone\n")
    package("prg_broken.program", PROGRAM.format(name="P"))
    with pytest.raises(ProgramError, match=r"prg_broken\.gone"):
        load_program("prg_broken.program")


class _Entry:
    dist = None
    value: str

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value


def test_a_broken_plugin_is_listed_with_its_problem(package, monkeypatch):
    good = package("prg_good", PROGRAM.format(name="Good"))
    bad = package("prg_bad", "1 / 0\n")
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [_Entry("good", good), _Entry("bad", bad)],
    )
    listed = {entry.name: entry for entry in list_programs(load=True)}
    assert "ZeroDivisionError" in (listed["bad"].problem or "")
    assert listed["good"].problem is None


def test_listing_without_loading_imports_nothing(package, monkeypatch):
    bad = package("prg_lazy", "1 / 0\n")
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [_Entry("bad", bad)]
    )
    assert [entry.problem for entry in list_programs()] == [None]
    assert "prg_lazy" not in sys.modules


def test_the_programs_that_ship_are_listed():
    modules = [entry.module for entry in list_programs()]
    assert "acoupi.programs.default" in modules
    assert modules == sorted(modules)


def test_a_program_in_this_folder_is_told_how_to_be_found(tmp_path, monkeypatch):
    (tmp_path / "lonely_program.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProgramError, match=r"it is in this folder.*PYTHONPATH"):
        load_program("lonely_program")
