"""A new member of every kind is its file and its yaml: the examples of the documentation pass their contract tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/adding.md")
FILE = re.compile(r"`((?:rnnstudy|conf)/[\w/]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)

CONTRACTS = {
    "tests/tasks/test_contract.py": "FirstBit or first_bit",
    "tests/recurrence/test_against_unrolled.py": "Damped",
    "tests/recurrence/test_autograd_contract.py": "Damped",
    "tests/recurrence/test_intervention.py": "Damped",
    "tests/models/test_contract.py": "damped_rnn",
    "tests/inits/test_contract.py": "small_inputs",
    "tests/mitigations/test_contract.py": "centred_grad and not trains_finitely",
    "tests/instruments/test_contract.py": "weight_norm and not diverged",
    "tests/schedules/test_schedules.py": "inverse_time and not sgd",
    "tests/training/test_loop.py": "adamax",
    "tests/config/test_conf.py": "first_bit or damped_rnn or small_inputs or centred_grad or weight_norm or inverse",
}
"""The tests of each kind, and those of them that try the new member."""


@pytest.mark.slow
def test_the_members_that_the_documentation_adds_pass_the_tests_of_their_kind(tmp_path):
    for name in ("rnnstudy", "conf", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    files = [found for page in PAGES for found in FILE.findall((ROOT / page).read_text())]
    for path, text in files:
        assert not (ROOT / path).exists()
        (tmp_path / path).write_text(text)
    groups = {path.split("/")[1] for path, _ in files if path.startswith("conf")}
    assert groups == {"task", "model", "init", "mitigation", "instrument", "schedule", "optimizer"}

    chosen = " or ".join(f"({Path(path).parent.name} and ({names}))" for path, names in CONTRACTS.items())
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "", "-k", chosen, *CONTRACTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout[-5000:] + tests.stderr
    passed = {line.partition("::")[0] for line in tests.stdout.splitlines() if " PASSED" in line}
    assert passed == CONTRACTS.keys()
