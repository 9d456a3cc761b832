"""What is answered before torch is imported, which takes longer than anything else before training."""

import json
import subprocess
import sys

ANSWERS = [
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
]

PROGRAM = """
import contextlib, io, json, sys
from rnnstudy.cli.main import main
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.redirect_stderr(told):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code or 0
    heavy = [name for name in ("torch", "scipy", "matplotlib", "tensorboard", "optuna") if name in sys.modules]
    print(json.dumps([told.getvalue(), code, heavy]))
"""


def test_an_answer_that_needs_no_torch_does_without(tmp_path):
    command = [sys.executable, "-c", PROGRAM, json.dumps([arguments for arguments, _, _ in ANSWERS])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for (arguments, code, words), line in zip(ANSWERS, done.stdout.splitlines(), strict=True):
        told, ended, heavy = json.loads(line)
        assert words in told, arguments
        assert "Traceback" not in told, arguments
        assert (ended, heavy) == (code, []), arguments
