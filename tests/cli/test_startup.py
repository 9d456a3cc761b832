"""What is answered before torch is imported, which takes longer than anything else before training."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from rnnstudy.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
heavy = [name for name in ("torch", "scipy", "matplotlib", "tensorboard", "optuna") if name in sys.modules]
print("imported:", heavy, "code:", code)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--help"], 0, "commands"),
        (["train", "model=lstn"], 1, "Did you mean 'lstm'?"),
        (["train", "task.lga=40"], 1, "Did you mean 'lag'?"),
        (["train", "train.num_steps=-1"], 1, "train.num_steps must be at least 0, got -1."),
        (["train", "-m", "seed=0,-1"], 1, "seed must be at least 0, got -1. (in the run seed=-1)"),
        (["train", "-m", "hydra/launcher=nope"], 1, "There is no hydra/launcher=nope"),
        (["train", "hydra/launcher=joblib"], 1, "hydra/launcher=joblib launches sweeps: add -m."),
        (["train", "-m", "hydra/sweeper=nope"], 1, "nope"),
        (["status", "nowhere"], 1, "nowhere"),
        (["status", "."], 1, "no run"),
        (["tune", "nope"], 1, "Allowed: coconut_water"),
    ],
)
def test_an_answer_that_needs_no_torch_does_without(tmp_path, arguments, code, told):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert f"imported: [] code: {code}" in done.stdout
