from pathlib import Path

import hydra

import rnnstudy
from rnnstudy.study.jobs import hydra_internals


def test_hydra_is_a_version_for_which_its_internals_were_tried():
    assert hydra.__version__ in hydra_internals.TRIED


def test_internals_of_hydra_are_used_in_one_file_alone():
    package = Path(rnnstudy.__file__).parent
    users = [path for path in package.rglob("*.py") if "hydra._internal" in path.read_text()]
    assert users == [Path(hydra_internals.__file__)]
