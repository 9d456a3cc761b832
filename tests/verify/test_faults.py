"""`rnnstudy verify` finds real faults: lines of the engine are changed, and the right row fails, and no exit code 0.

A fault is a line of the source that is replaced and compiled anew, in place, so that every user of the function gets
it. Only the checks and cells are run that a fault is about.
"""

import ast
import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest

from rnnstudy.cli.main import main
from rnnstudy.gradients import lyapunov, replay, weight_terms
from rnnstudy.gradients.jacobians import Scaled
from rnnstudy.lessons.worked_bptt import Gradients, WorkedNetwork
from rnnstudy.mitigations import h_detach
from rnnstudy.recurrence import activations, gru, indrnn, layer_norm, lru, lstm, residual, scan, skip
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.verify import (
    adjoint_parts,
    all_checks,
    autograd,
    jacobians,
    nudged_states,
    nudged_weights,
    sums_over_time,
)
from rnnstudy.verify.cells import all_cells, name_of


def break_line(monkeypatch: pytest.MonkeyPatch, function: Any, old: str, new: str) -> None:
    """Replace a piece of a function's source, which must be there exactly once."""
    plain = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(plain))
    assert source.count(old) == 1, f"{plain.__qualname__} has changed: look for another line to break"
    tree = ast.parse(source.replace(old, new))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list.clear()
    namespace: dict[str, Any] = {}
    exec(compile(tree, "<broken>", "exec"), vars(sys.modules[plain.__module__]), namespace)
    monkeypatch.setattr(plain, "__code__", namespace[plain.__name__].__code__)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is broken, and what the table must then say.

    Args:
        function: The broken one.
        change: A piece of its source, and what it becomes.
        fails: The checks that are made, and the row that must fail.
        cells: On which it must fail; it must not fail on `sound`.
        sound: Likewise.
        slow: Whether the checks take more than a second.
    """

    function: Any
    change: tuple[str, str]
    fails: tuple[str, str]
    cells: tuple[str, ...]
    sound: tuple[str, ...] = ()
    slow: bool = False


STATES, WEIGHTS, AUTOGRAD = "slopes, states nudged", "slopes, weights nudged", "autograd, torch cells"

FAULTS = {
    "slope of tanh": Fault(
        function=activations._tanh_slope,
        change=("value=-1", "value=-0.999"),
        fails=(STATES, "dL/dh_t, carried"),
        cells=("rnn tanh", "indrnn tanh", "skip skip=3"),
        sound=("rnn relu", "lru", "gru"),
    ),
    "slope of tanh is NaN": Fault(
        function=activations._tanh_slope,
        change=("value=-1", 'value=float("nan")'),
        fails=(STATES, "dL/dh_t, total"),
        cells=("rnn tanh",),
        sound=("rnn relu",),
    ),
    "c of the step before carried by the wrong forget gate": Fault(
        function=lstm.LSTMRecurrence.backward_scan,
        change=("torch.mul(total_c, forget[k], out", "torch.mul(total_c, forget[k - 1], out"),
        fails=(STATES, "dL/dc_t, carried"),
        cells=("lstm", "lstm layer_norm"),
    ),
    "forget gate against autograd": Fault(
        function=lstm.LSTMRecurrence.backward_scan,
        change=("torch.mul(total_c, forget[k], out", "torch.mul(total_c, forget[k - 1], out"),
        fails=(AUTOGRAD, "dL/dc_t"),
        cells=("lstm",),
        sound=("gru", "rnn tanh"),
        slow=True,
    ),
    "all chunks of the weight gradient but one dropped": Fault(
        function=scan.PackedGradient._add,
        change=("add_products(self._turned", "chunk.start or add_products(self._turned"),
        fails=(AUTOGRAD, "dL/dW, dL/dx"),
        cells=("rnn tanh",),
    ),
    "direct part left out of the total": Fault(
        function=Adjoint.total.fget,
        change=("self.source.added_to(self.carried)", "self.carried.clone()"),
        fails=("parts of the total", "direct + carried"),
        cells=("gru", "lstm", "lru"),
    ),
    "something carried into the last step": Fault(
        function=scan.Carried.__init__,
        change=("self.values[-1].zero_()", "self.values[-1].fill_(1e-30)"),
        fails=("parts of the total", "direct + carried"),
        cells=("gru", "rnn tanh"),
    ),
    "reset gate": Fault(
        function=gru.GRURecurrence.backward_scan,
        change=(".mul_(0.5)", ".mul_(0.5001)"),
        fails=(WEIGHTS, "dL/dparameter, each"),
        cells=("gru", "gru layer_norm"),
        sound=("lstm", "rnn tanh"),
        slow=True,
    ),
    "gain of layer normalisation": Fault(
        function=layer_norm.LayerNorm.backward,
        change=("delta * self._gain", "delta * 1.0"),
        fails=(STATES, "dL/dh_t, carried"),
        cells=("rnn tanh layer_norm", "lstm layer_norm"),
        sound=("rnn tanh", "lstm"),
        slow=True,
    ),
    "conjugate of the LRU": Fault(
        function=lru.LRURecurrence.backward_scan,
        change=("eigenvalue.conj().resolve_conj()", "eigenvalue.clone()"),
        fails=("Jacobians", "Jacobian ds_t/ds_(t-1)"),
        cells=("lru",),
        sound=("gru",),
        slow=True,
    ),
    "recurrent weight of the IndRNN": Fault(
        function=indrnn.IndRNNRecurrence.backward_scan,
        change=(
            "of_recurrent.addcmul_(deltas[k], befores[k])",
            "of_recurrent.addcmul_(deltas[k], befores[max(k - 1, 0)])",
        ),
        fails=(WEIGHTS, "dL/dparameter, each"),
        cells=("indrnn relu", "indrnn tanh"),
        sound=("rnn relu",),
        slow=True,
    ),
    "what a residual cell keeps": Fault(
        function=residual.ResidualRecurrence.backward_scan,
        change=("total * keep", "total * self.rate"),
        fails=(STATES, "dL/dh_0, dL/dc_0"),
        cells=("residual residual rate=0.5",),
        sound=("rnn tanh",),
    ),
    "skip connection arrives a step late": Fault(
        function=skip.SkipRecurrence.backward_scan,
        change=("joining = travelling.popleft()", "joining = travelling.popleft() * 0.9"),
        fails=(STATES, "dL/dh_t, total"),
        cells=("skip skip=3",),
        sound=("rnn tanh",),
    ),
    "exponents of matrices": Fault(
        function=Scaled.of,
        change=("exponents + shift", "exponents - shift"),
        fails=("Jacobians", "product of Jacobians"),
        cells=("rnn identity",),
    ),
    "exponents of the replay": Fault(
        function=replay._Adjoints.sum_of,
        change=("common + shift)", "common)"),
        fails=("Jacobians", "replayed dL/dh_t"),
        cells=("rnn identity",),
        slow=True,
    ),
    "logarithm of Lyapunov exponents": Fault(
        function=lyapunov._growth,
        change=("grown.log()", "grown.log2()"),
        fails=("Jacobians", "Lyapunov exponents"),
        cells=("rnn tanh",),
        slow=True,
    ),
    "h-detach leaves a little": Fault(
        function=h_detach._Cut.apply,
        change=("hidden.masked_fill_(self._cut[time_step + 1], 0)", "hidden.mul_(1e-6)"),
        fails=("closed forms", "dL/dc_t, h_detach p=1"),
        cells=("lstm",),
    ),
    "path through h_t counted twice in terms": Fault(
        function=weight_terms._arriving,
        change=("found[name].carried", "found[name].total"),
        fails=("sums over time", "every dE_s/dW(t)"),
        cells=("lstm",),
        sound=("gru",),
        slow=True,
    ),
    "truncation one step short": Fault(
        function=WorkedNetwork.deltas,
        change=("max(0, t - reach) - 1", "max(0, t - reach)"),
        fails=("worked examples", "the same, 3 steps back"),
        cells=("worked network",),
    ),
    "W clipped from above only": Fault(
        function=Gradients.clipped,
        change=("W=self.W.clip(-limit, limit)", "W=self.W.clip(None, limit / 2)"),
        fails=("worked examples", "clipped at ±5"),
        cells=("worked network",),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * fault.slow) for name, fault in FAULTS.items()]
)
def test_a_fault_in_the_engine_fails_the_right_row(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fault = FAULTS[name]
    group, row = fault.fails
    monkeypatch.setattr(all_checks, "CHECKS", {group: all_checks.CHECKS[group]})
    cells = tuple(cell for cell in all_cells() if name_of(cell) in {*fault.cells, *fault.sound})
    for module in (adjoint_parts, autograd, jacobians, nudged_states, nudged_weights, sums_over_time):
        monkeypatch.setattr(module, "all_cells", lambda: cells)
    monkeypatch.setenv("COLUMNS", "1000")
    break_line(monkeypatch, fault.function, *fault.change)
    assert main(["verify", "--device", "cpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    complaints = [line for line in lines if line.startswith(f"FAILED on cpu: {group}: {row}, compared")]
    assert complaints, lines
    assert any(line.startswith(row) and line.rstrip().endswith("FAILED") for line in lines)
    assert "rows FAILED" in lines[-1]
    for cell in fault.cells:
        assert any(f" {cell} (" in line for line in complaints), cell
    for cell in fault.sound:
        assert not any(f" {cell} (" in line for line in complaints), cell
