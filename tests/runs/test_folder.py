import json

import pytest

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import RunFolder, write_atomically, write_figures, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    (tmp_path / "result.json.part").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, b"new")
    (tmp_path / "result.json.part").rmdir()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_run_is_finished_when_it_has_a_result(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.is_finished
    write_json(folder.result, {})
    assert folder.is_finished


def test_figures_that_cannot_be_written_are_an_error_of_one_line(tmp_path):
    with pytest.raises(RnnstudyError, match=r"^'.*nowhere/f.json' cannot be written to: No such file or directory\.$"):
        write_figures(tmp_path / "nowhere" / "f.json", [1])
    write_figures(tmp_path / "f.json", [1])
    assert json.loads((tmp_path / "f.json").read_text()) == [1]
