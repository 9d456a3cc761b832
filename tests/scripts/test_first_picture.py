"""The README's first picture, from short runs of the two studies."""

import subprocess
import sys
from pathlib import Path

import pytest

from rnnstudy.cli.main import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "first_picture.py"


@pytest.mark.slow
def test_the_first_picture_is_drawn_from_the_runs_of_both_studies(tmp_path):
    for study in ("coconut_clipping", "coconut_exploding"):
        assert main(["train", f"experiment={study}", "train.num_steps=3", f"output_dir='{tmp_path / study}'"]) == 0
    picture = tmp_path / "first.png"
    subprocess.run([sys.executable, SCRIPT, tmp_path, picture], check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
