"""The notebook for beginners runs from top to bottom, shows its pictures, and what its text claims is so."""

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_gradients.ipynb"

CLAIMS = """
left = {name: (norms[0] / norms[-1]).median().item() for name, g in gradients.items() for norms in [g.norms().mean(-1)]}
states = plain.network()(batch.inputs[:, None].expand(-1, 8, -1), batch.loss_steps).states[0][0][-1]
last = plain.metrics().set_index("step").loc[400, "eval/loss"].median()
print(json.dumps({
    "left": left,
    "direct before the end": gradients["LSTM"].direct[:-1].abs().max().item(),
    "solved": [run.outcome.status.count("solved") for run in (plain, clipped)],
    "loss of the last to train, over that of guessing": last / task.facts.chance_loss,
    "replicas with every unit off": int((states == 0).all(-1).all(-1).sum()),
    "right": [classes[index] for index in logits.argmax(-1)] == [classes[index] for index in batch.targets[0]],
}))
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\n{CLAIMS}"))
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_stored_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_every_cell_runs_and_every_drawing_one_shows_a_picture(executed):
    for number, cell in enumerate(executed, start=1):
        assert cell.execution_count == number
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        assert pictures == ("plt.show()" in cell.source)
        assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.outputs
    assert sum("plt.show()" in cell.source for cell in executed) == 7


@pytest.mark.slow
def test_progress_is_shown_in_plain_lines(executed):
    (training,) = [cell for cell in executed if "rs.train(" in cell.source]
    text = "".join(output.text for output in training.outputs)
    assert "[2/2] rnn (identity) + clip_norm: solved" in text
    assert "\x1b" not in text


@pytest.mark.slow
def test_what_the_text_claims_is_so(executed):
    claims = json.loads(executed[-1].outputs[0].text)
    vanilla, lstm, identity = claims["left"].values()
    assert max(vanilla, lstm) < 1e-3
    assert identity > 0.3
    assert claims["direct before the end"] == 0
    without, clipped = claims["solved"]
    assert without <= 4 < 7 <= clipped
    assert claims["loss of the last to train, over that of guessing"] == pytest.approx(1, abs=0.05)
    assert claims["replicas with every unit off"] >= 4
    assert claims["right"]
