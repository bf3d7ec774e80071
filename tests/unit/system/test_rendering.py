from __future__ import annotations

import os
import subprocess
import sys


def test_a_checkout_on_the_path_is_not_taken_for_the_package(tmp_path):
    (tmp_path / "acoupi").mkdir()
    code = (
        "from acoupi.system.rendering import _environment;"
        "_environment().get_template('app.py.jinja2')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
