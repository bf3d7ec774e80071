"""The package does not do what would let data become code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from kombu import serialization

from acoupi.system import CeleryConfig, Settings, get_celery_app, setup_program

PACKAGE = Path(__file__).parents[2] / "acoupi"

MODULES = {
    *("pickle", "cPickle", "_pickle", "marshal", "shelve", "dbm", "dill"),
    *("cloudpickle", "joblib", "yaml", "telnetlib", "ftplib", "imp"),
}

CALLS = {"eval", "exec", "__import__", "os.system", "os.popen", "pty.spawn"}

INSECURE = {"CERT_NONE", "_create_unverified_context", "PROTOCOL_SSLv23"}


def nodes():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", node


def name_of(node) -> str:
    return ast.unparse(node)


def test_nothing_that_unpickles_is_imported():
    wrong = []
    for place, node in nodes():
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        wrong += [place for name in names if name.split(".")[0] in MODULES]
    assert wrong == []


def test_no_text_becomes_code_and_no_shell_is_asked():
    wrong = []
    for place, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        options = {word.arg: word.value for word in node.keywords}
        shell = options.get("shell")
        pickles = options.get("allow_pickle")
        if (
            name_of(node.func) in CALLS
            or (shell is not None and name_of(shell) != "False")
            or (pickles is not None and name_of(pickles) != "False")
        ):
            wrong.append(f"{place}: {name_of(node)}")
    assert wrong == []


def test_certificates_are_always_checked():
    wrong = [
        place
        for place, node in nodes()
        if (isinstance(node, ast.Attribute) and node.attr in INSECURE)
        or (
            isinstance(node, ast.Assign)
            and any("check_hostname" in name_of(target) for target in node.targets)
        )
    ]
    assert wrong == []


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
def test_workers_take_json_only(tmp_path, monkeypatch, pool):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    settings = Settings(tmp_path / "home")
    setup_program(
        settings,
        "acoupi.programs.default",
        {"microphone": {"source": "signal"}},
        CeleryConfig(pool=pool),
    )

    app = get_celery_app(settings)

    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.result_serializer == "json"
    assert app.conf.event_serializer == "json"
    accepted = serialization.prepare_accept_content(app.conf.accept_content)
    assert accepted == {"application/json"}
    for task in app.tasks.values():
        assert task.serializer in {None, "json"}
