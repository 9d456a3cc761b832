"""Powers of a factor and a matrix against NumPy and autograd."""

import numpy as np
import pytest
import torch
from tools.topics import table

from rnnstudy.theory.topics.powers import explain_powers


def test_powers_are_those_that_numpy_makes_and_the_lesson_prints():
    topic = explain_powers()
    matrix = np.array([[0.5, 0.01], [0.3, 0.5]])
    rows = {int(row["n"]): row for row in table(topic, "Powers of the lesson's W")}
    assert [rows[3][f"row {i}, col {j}"] for i in (1, 2) for j in (1, 2)] == ["0.1295", "0.00753", "0.2259", "0.1295"]
    for n, row in rows.items():
        expected = np.linalg.matrix_power(matrix, n)
        found = [float(row[f"row {i}, col {j}"]) for i in (1, 2) for j in (1, 2)]
        np.testing.assert_allclose(found, expected.ravel(), rtol=1e-5)
        assert float(row["norm"]) == pytest.approx(np.linalg.svd(expected)[1][0], rel=1e-3)
    last = table(topic, "Powers of one factor")[-1]
    assert (last["n"], float(last["0.5^n"]), last["2^n"]) == ("10", 0.5**10, "1024")


def test_the_worked_row_vector_is_the_one_that_autograd_carries_back():
    w = torch.tensor([[0.5, 0.01], [0.3, 0.5]], dtype=torch.float64)
    states = [torch.tensor([0.2, -0.1], dtype=torch.float64).requires_grad_()]
    for _ in range(3):
        states.append(w @ states[-1])
    expected = torch.autograd.grad(states[-1].sum(), states[::-1])
    rows = table(explain_powers(), "A gradient at step 4")
    assert [row["gradient"] for row in rows] == ["dJ_4/dh_4", "dJ_4/dh_3", "dJ_4/dh_2", "dJ_4/dh_1"]
    for row, gradient in zip(rows, expected, strict=True):
        assert [float(row["unit 1"]), float(row["unit 2"])] == pytest.approx(gradient.tolist(), rel=1e-5)
