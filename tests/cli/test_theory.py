"""`rnnstudy theory`: what it prints and writes, and the line that bad input gets."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tools.browser import assert_stands_alone, launched, needs_browser
from tools.members import run_small

from rnnstudy.cli.main import main
from rnnstudy.training.checkpoint import Checkpoints

SECTIONS = 8
PICTURES = {
    *("activations", "activations_all", "eigenvalues", "non_normal_powers", "linear_powers"),
    *("contributions", "contributions_inputs", "contributions_gradient", "notebook_curve"),
    *("weight_terms", "weight_term_shares", "lyapunov_spectra", "vanish_explode", "cliff"),
}


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return run_small(tmp_path_factory.mktemp("runs") / "gru run", "model=gru", "train.kept_checkpoints=null").path


def test_random_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["theory", "--hidden-size", "4", "--seq-len", "5", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    name = "random_hidden_size=4_seq_len=5_seed=3"
    folder = tmp_path / "outputs" / "theory" / name
    page = (folder / "theory.html").read_text()
    assert printed.startswith("networks with random weights: 4 units, 5 time steps, seed 3")
    assert f"Page with figures: outputs/theory/{name}/theory.html" in printed
    # The last line holds a path, which is not broken.
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert page.count("<h2") == SECTIONS
    assert all(f"{number}. " in printed for number in range(1, SECTIONS + 1))
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {path.stem for path in folder.glob("*.svg")} == PICTURES
    assert page.count("data:image/png;base64,") == len(PICTURES)


@pytest.mark.slow
def test_several_radii_on_one_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["theory", "--hidden-size", "4", "--seq-len", "5", "--radius", "0.5,1,2.5"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 units, 5 time steps, seed 0, spectral radius 0.5, 1, 2.5" in printed
    page = Path("outputs/theory/random_hidden_size=4_seq_len=5_radius=0.5,1,2.5/theory.html").read_text()
    assert page.count("<h2") == SECTIONS
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert all(f"rnn, tanh, ρ={radius}" in page for radius in ("0.5", "1", "2.5"))


@pytest.mark.slow
def test_a_run_at_one_of_its_steps(tmp_path, run_folder, capsys):
    out = tmp_path / "page"
    assert main(["theory", "--run", str(run_folder), "--step", "5", "--replica", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("gru run after 5 optimizer steps, replica 2, over")
    assert (out / "theory.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--drive", "nothing"], ["--seq-len", "30"], []])
def test_a_run_in_other_ways(tmp_path, run_folder, options):
    assert main(["theory", "--run", str(run_folder), "--out", str(tmp_path), *options]) == 0


@pytest.mark.slow
def test_a_matrix_from_a_file(tmp_path, capsys):
    matrix = np.array([[0.5, 0.01], [0.3, 0.5]])
    text, binary = tmp_path / "W.txt", tmp_path / "W.npy"
    text.write_text("0.5, 0.01\n\n0.3 0.5\n")
    np.save(binary, matrix)
    printed = []
    for path in (text, binary):
        assert main(["theory", "--matrix", str(path), "--out", str(tmp_path / "page")]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "vanilla networks with the given W_hh: 2 units" in printed[0]
    # Radius and norm of the lesson's matrix.
    assert f"{max(abs(np.linalg.eigvals(matrix))):.4g}" in printed[0]
    assert f"{np.linalg.norm(matrix, 2):.4g}" in printed[0]


def spoilt(run_folder: Path, folder: Path, change) -> Path:
    """A copy of a run with one of its checkpoints changed."""
    shutil.copytree(run_folder, folder)
    checkpoints = Checkpoints(folder / "checkpoints")
    content = checkpoints.load_step(12)
    assert content is not None
    change(content)
    checkpoints.save(12, content)
    return folder


def test_weights_that_are_not_finite(tmp_path, run_folder, capsys):
    def change(content):
        content["network"]["layers.0.weight_hh"][1, 0, 0] = torch.nan

    folder = spoilt(run_folder, tmp_path / "run", change)
    assert main(["theory", "--run", str(folder), "--replica", "1"]) == 1
    assert capsys.readouterr().err == (
        f"rnnstudy: replica 1 of {folder} has weights that are NaN or infinite after 12 steps (layers.0.weight_hh); "
        "choose another: --replica 0 or 2.\n"
    )


def test_a_checkpoint_of_another_model(tmp_path, run_folder, capsys):
    def change(content):
        content["network"]["layers.0.weight_hh"] = torch.zeros(3, 24, 6)

    folder = spoilt(run_folder, tmp_path / "run", change)
    assert main(["theory", "--run", str(folder)]) == 1
    assert capsys.readouterr().err == (
        f"rnnstudy: {folder}/checkpoints, step 12 holds weights of another model than config.yaml describes: "
        "layers.0.weight_hh has the shape (3, 24, 6) there, (3, 18, 6) is wanted.\n"
    )


MATRICES = {
    "wide.txt": "1 2 3\n4 5 6\n",
    "ragged.txt": "1 2\n3\n",
    "words.txt": "a b\nc d\n",
    "nan.txt": "1 nan\n2 3\n",
    "empty.txt": "",
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--seq-len 0", "seq_len must be between 1 and 1000, got 0."),
        ("--seq-len 1001", "seq_len must be between 1 and 1000, got 1001."),
        ("--hidden-size 0", "hidden_size must be between 1 and 256, got 0."),
        ("--hidden-size 100000", "hidden_size must be between 1 and 256, got 100000."),
        ("--seed -1", "seed must be at least 0, got -1."),
        ("--radius -1", "radius must be at least 0, got -1.0."),
        ("--radius nan", "radius must be at least 0, got nan."),
        ("--radius 0.5,-1", "radius must be at least 0, got -1.0."),
        ("--radius 1,inf", "radius must be a finite number"),
        ("--radius a", "radius must be a number, or several with commas between them, got 'a'."),
        ("--radius 1,,2", "radius must be a number, or several with commas between them, got '1,,2'."),
        ("--radius 1,2,1.0", "radius must not hold the same number twice; leave one out."),
        ("--radius 1,2,3,4,5", "radius must hold at most 4 numbers, got 5; leave some out."),
        ("--point inf", "point must be a finite number"),
        ("--step 5", "--step goes with --run only; leave it out."),
        ("--replica 0", "--replica goes with --run only; leave it out."),
        ("--drive task", "--drive goes with --run only; leave it out."),
        ("--run nowhere", "'nowhere' is no run folder: it has no config.yaml. Runs are made by: rnnstudy train"),
        ("--run nowhere --radius 1", "--radius does not go with --run; leave it out."),
        ("--run nowhere --seq-len 0", "seq_len must be between 1 and 1000, got 0."),
        ("--run RUN --replica 3", "replica must be between 0 and 2 for this run, got 3."),
        ("--run RUN --step 7", "RUN has no checkpoint of step 7; it has 5, 10, 12."),
        ("--run RUN --seq-len 3", "seq_len 3 is not one this task can have (in training 23): lag must be at least 19"),
        ("--matrix wide.txt", "wide.txt: W_hh must be a square matrix, got 2 x 3."),
        ("--matrix ragged.txt", "ragged.txt must hold a matrix: a row of numbers a line, or a .npy file of numbers."),
        ("--matrix words.txt", "words.txt must hold a matrix: a row of numbers a line, or a .npy file of numbers."),
        ("--matrix nan.txt", "nan.txt: W_hh must hold finite numbers, got 1 of 4 that are NaN or infinite."),
        ("--matrix empty.txt", "empty.txt must hold a matrix: a row of numbers a line, or a .npy file of numbers."),
        ("--matrix none.txt", "none.txt cannot be read: No such file or directory."),
        ("--matrix wide.txt --hidden-size 3", "--hidden-size does not go with --matrix; leave it out."),
        ("--seq-len 2 --hidden-size 2 --out nan.txt", "'nan.txt' cannot be written to: File exists."),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, run_folder, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name, text in MATRICES.items():
        Path(name).write_text(text)
    given = [str(run_folder) if part == "RUN" else part for part in arguments.split()]
    assert main(["theory", *given]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"rnnstudy: {message.replace('RUN', str(run_folder))}")
    assert said.count("\n") == 1


def test_a_matrix_of_code_is_not_run(tmp_path, capsys):
    path = tmp_path / "W.npy"
    np.save(path, np.array([["a", {}]], dtype=object), allow_pickle=True)
    assert main(["theory", "--matrix", str(path)]) == 1
    assert "must hold a matrix" in capsys.readouterr().err


@pytest.mark.slow
@needs_browser
def test_the_page_stands_alone(tmp_path):
    assert main(["theory", "--hidden-size", "4", "--seq-len", "6", "--out", str(tmp_path / "a page")]) == 0
    with launched() as browser:
        assert_stands_alone(browser, tmp_path / "a page" / "theory.html", 390, "light")
        assert_stands_alone(browser, tmp_path / "a page" / "theory.html", 1280, "dark")
