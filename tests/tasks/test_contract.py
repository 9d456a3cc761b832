"""What every task must keep, found by its yaml file."""

import inspect
import math
import random
from dataclasses import fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from tools.members import SAMPLE_TEXT, members, plan

from rnnstudy.core.errors import ConfigError
from rnnstudy.tasks.base import Batch, ClassificationTask, RegressionTask, SyntheticTask, Task, stack

TASKS = members("task")


def make(name: str, *overrides: str) -> Task:
    return plan(f"task={name}", *overrides).task


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Batch)]
    return all(left is right is None or torch.equal(left, right) for left, right in pairs)


def variants(name: str) -> list[Task]:
    """The task as its yaml has it, and with every other word that one of its arguments can be."""
    task = make(name)
    found = [task]
    for argument, hint in get_type_hints(type(task)).items():
        if get_origin(hint) is Literal and argument != "part":
            found += [replace(task, **{argument: word}) for word in get_args(hint) if word != getattr(task, argument)]
    return found


VARIANTS = [task for name in TASKS for task in variants(name)]
SYNTHETIC = [task for task in VARIANTS if isinstance(task, SyntheticTask)]


def described(task: Task) -> str:
    return repr(task).replace(str(SAMPLE_TEXT), "sample.txt")


every_task = pytest.mark.parametrize("task", VARIANTS, ids=described)


@every_task
def test_shapes_and_types(task):
    facts = task.facts
    batch = task.sample(5, generator())
    steps = len(batch.loss_steps)
    assert batch.inputs.shape[:2] == (facts.seq_len, 5)
    assert batch.targets.shape[:2] == batch.counted.shape == batch.answer.shape == (steps, 5)
    assert batch.informative.shape == (facts.seq_len, 5)
    assert batch.informative.any(0).all()
    for mask in (batch.counted, batch.answer):
        assert len(set(mask.sum(0).tolist())) == 1
        assert mask.any()
    assert set(batch.informative.any(1).nonzero().flatten().tolist()) <= set(facts.informative_steps)
    assert sorted(set(facts.informative_steps)) == sorted(facts.informative_steps)
    assert set(facts.informative_steps) <= set(range(facts.seq_len))
    assert batch.loss_steps.tolist() == sorted(set(batch.loss_steps.tolist()))
    if facts.encoding == "features":
        assert batch.inputs.dtype == torch.float32
        assert batch.inputs.shape[2:] == (facts.input_size,)
    else:
        assert batch.inputs.dtype == torch.long
        assert batch.inputs.ndim == 2
        assert 0 <= int(batch.inputs.min()) <= int(batch.inputs.max()) < facts.input_size
    if isinstance(task, ClassificationTask):
        assert batch.targets.dtype == torch.long
        assert 0 <= int(batch.targets.min()) <= int(batch.targets.max()) < facts.output_size
    else:
        assert isinstance(task, RegressionTask)
        assert batch.targets.dtype == torch.float32
        assert batch.targets.shape[2:] == (facts.output_size,)


@every_task
def test_samples_depend_on_the_generator_alone(task):
    first = task.sample(6, generator(1))
    # Whatever was drawn elsewhere in between makes no difference, and nothing is drawn there.
    torch.rand(3)
    random.random()
    before = torch.get_rng_state()
    again = task.sample(6, generator(1))
    assert torch.equal(before, torch.get_rng_state())
    assert same(first, again)
    assert not same(first, task.sample(6, generator(2)))


@every_task
def test_batches_of_one_stream_differ(task):
    stream = generator(3)
    first = task.sample_after(None, 6, stream)
    second = task.sample_after(first.ends, 6, stream)
    assert not torch.equal(first.inputs, second.inputs)


@every_task
def test_replicas_do_not_depend_on_each_other(task):
    together = stack([task.sample(5, generator(seed)) for seed in range(3)])
    alone = stack([task.sample(5, generator(2))])
    assert torch.equal(together.inputs[:, 2:], alone.inputs)
    outputs = torch.randn(*together.targets.shape[:3], task.facts.output_size, generator=generator())
    outputs[:, 1] = float("nan")
    loss, metrics = task.loss(outputs, together), task.metrics(outputs, together)
    assert loss.shape == (3,)
    assert loss.isfinite().tolist() == [True, False, True]
    assert torch.allclose(metrics["loss"], loss, equal_nan=True)
    if task.facts.solved is not None:
        assert not task.facts.solved.is_met(metrics)[1]
    assert torch.allclose(task.loss(outputs[:, 2:], alone), loss[2:])
    for name, values in task.metrics(outputs[:, 2:], alone).items():
        assert torch.allclose(values, metrics[name][2:]), name


@every_task
def test_the_right_answer_solves_the_task(task):
    batch = stack([task.sample(16, generator())])
    right = batch.targets
    if isinstance(task, ClassificationTask):
        right = torch.nn.functional.one_hot(batch.targets, task.facts.output_size).float() * 50
    metrics = task.metrics(right, batch)
    assert float(metrics["loss"]) < 1e-6
    assert float(metrics["accuracy"]) == 1
    assert task.facts.solved is None or bool(task.facts.solved.is_met(metrics).all())
    # Wrong where nothing is asked, it still is right.
    wrong = torch.where(batch.answer[..., None], right, 0.5)
    assert float(task.metrics(wrong, batch)["accuracy"]) == 1
    assert float(task.metrics(wrong, batch)["answer_loss"]) < 1e-6


@pytest.mark.parametrize("name", TASKS)
def test_the_docstring_says_what_is_built(name):
    text = inspect.getdoc(type(make(name))) or ""
    assert "Example" in text
    assert "References:" in text
    assert "Args:" in text
    assert "drawn fresh" in text or "fixed set" in text or "the file" in text


@pytest.mark.parametrize("task", SYNTHETIC, ids=described)
def test_only_the_informative_inputs_decide_the_answer(task):
    """Sequence by sequence: everything else from another sequence changes nothing, the informative inputs all."""
    one = task.sample(400, generator(1))
    informative = one.informative
    # Another sequence's inputs at every place that is informative in neither: they could have been drawn here too.
    other = one.inputs.roll(1, 1)
    replaced = ~informative & ~informative.roll(1, 1)
    keep = replaced if one.inputs.ndim == 2 else replaced[..., None]
    changed = task.pose(torch.where(keep, other, one.inputs))
    assert torch.equal(changed.informative, informative)
    assert torch.equal(changed.answer, one.answer)
    assert torch.equal(changed.targets[one.answer], one.targets[one.answer])
    # Unless the rest is the same in all sequences, something did change.
    rest = one.inputs.double().masked_fill(informative.view(keep.shape), math.nan)
    varied = rest.nan_to_num(-math.inf).amax(1) > rest.nan_to_num(math.inf).amin(1)
    assert bool(varied.any()) == (not torch.equal(torch.where(keep, other, one.inputs), one.inputs))

    # The informative inputs of another sequence, in their order, at the informative places of this one.
    number = informative.sum(0)
    assert (number == number[0]).all()
    columns = torch.arange(400)
    source = informative.T.nonzero()[:, 1].view(400, -1)
    moved = one.inputs.clone()
    moved[source, columns[:, None]] = one.inputs[source.roll(1, 0), columns.roll(1)[:, None]]
    answers = task.pose(moved)
    wanted = torch.stack([one.targets[:, column][one.answer[:, column]] for column in columns]).roll(1, 0)
    found = torch.stack([answers.targets[:, column][answers.answer[:, column]] for column in columns])
    assert torch.allclose(found.double(), wanted.double())
    assert bool((wanted != wanted.roll(-1, 0)).any())


def short(task: Task) -> Task:
    """The task with sequences of 24 time steps, if it can: the figures depend on the length, sampling costs less."""
    return task if task.length_field is None else task.with_seq_len(24)


class Sampled:
    """The same sequences each time they are gone through, with 1e5 answers at least, in batches."""

    def __init__(self, task: Task) -> None:
        self.task = task
        batch = task.sample(2, generator())
        answers = int(batch.answer.sum()) // 2
        outputs = len(batch.loss_steps) * task.facts.output_size
        self.number = min(3 * 10**5, max(10**5 // answers, 4 * 10**7 // outputs)) // 2000 * 2000
        self.answers = self.number * answers

    def __iter__(self):
        stream = generator(11)
        for _ in range(self.number // 2000):
            yield stack([self.task.sample(2000, stream)])

    def mean(self, name: str, guess) -> float:
        """A metric of the task's own, mean over all sequences, where the outputs are what `guess` makes of a batch."""
        figures = [float(self.task.metrics(guess(batch).double(), batch)[name]) for batch in self]
        return sum(figures) / len(figures)


@pytest.mark.slow
@every_task
def test_chance_is_what_the_best_constant_answer_gets(task):
    task = short(task)
    sampled, facts = Sampled(task), task.facts
    total = torch.zeros(facts.output_size, dtype=torch.float64)
    for batch in sampled:
        answers = batch.targets[batch.answer]
        if isinstance(task, ClassificationTask):
            total += answers.bincount(minlength=facts.output_size)
        else:
            total += answers.double().sum(0)
    best = (
        (total / sampled.answers).log().clamp(min=-1e4)
        if isinstance(task, ClassificationTask)
        else total / sampled.answers
    )

    def guess(batch: Batch) -> torch.Tensor:
        return best.expand(*batch.counted.shape, -1)

    assert sampled.mean("answer_loss", guess) == pytest.approx(facts.chance_loss, rel=0.005)
    if isinstance(task, RegressionTask):
        best = torch.tensor([most_often_right(task, sampled)])
    # How often a guess is right scatters: four standard deviations of a share, where that is more than 0.5 %.
    scatter = 4 * math.sqrt((1 - facts.chance_accuracy) / facts.chance_accuracy / sampled.answers)
    assert sampled.mean("accuracy", guess) == pytest.approx(facts.chance_accuracy, rel=max(0.005, scatter))


def most_often_right(task: RegressionTask, sampled: Sampled) -> float:
    """The value within whose tolerance most answers lie."""
    answers = torch.cat([batch.targets[batch.answer].flatten() for batch in sampled]).sort().values
    inside = torch.searchsorted(answers, answers + 2 * task.tolerance) - torch.arange(len(answers))
    return float(answers[inside.argmax()]) + task.tolerance


def contexts(batch: Batch, task: Task) -> torch.Tensor:
    """A number for what can be known without memory at each output: the time step and the present input."""
    present = batch.inputs[batch.loss_steps]
    if task.facts.encoding == "features":
        rows = present.flatten(0, 2).unique(dim=0)
        if len(rows) > 64:  # noise that says nothing
            present = torch.zeros_like(batch.targets)
        else:
            present = (present[..., None, :] == rows).all(-1).int().argmax(-1)
    # Where the sequences are windows of a text, all time steps are alike.
    steps = torch.arange(len(present)) if isinstance(task, SyntheticTask) else torch.zeros(len(present)).long()
    return present + steps.view(-1, 1, 1) * max(64, task.facts.input_size)


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in VARIANTS if task.facts.memoryless_loss is not None], ids=described)
def test_memoryless_is_the_best_guess_from_the_time_step_and_the_present_input(task):
    task = short(task)
    sampled, facts = Sampled(task), task.facts
    if isinstance(task, RegressionTask):
        guess, bias = fitted_values(sampled), 0.0
    else:
        guess, bias = fitted_frequencies(sampled)
    assert sampled.mean("loss", guess) + bias == pytest.approx(facts.memoryless_loss, rel=0.005)


def fitted_frequencies(sampled: Sampled):
    """How often each class was right in each context; and by how much, on average, a fit to few samples flatters."""
    task = sampled.task
    size = len(next(iter(sampled)).loss_steps) * max(64, task.facts.input_size)
    counts = torch.zeros(size, task.facts.output_size, dtype=torch.float64)
    for batch in sampled:
        places = (contexts(batch, task)[batch.counted], batch.targets[batch.counted])
        counts.index_put_(places, torch.ones(len(places[0]), dtype=torch.float64), accumulate=True)
    seen = counts > 0
    bias = float((seen.sum(1)[seen.any(1)] - 1).sum() / 2 / counts.sum())
    return lambda batch: counts[contexts(batch, task)].log(), bias if isinstance(task, SyntheticTask) else 0.0


def fitted_values(sampled: Sampled):
    """The least squares fit of the target to the present input and the product of its entries."""

    def regressors(batch: Batch) -> torch.Tensor:
        present = batch.inputs[batch.loss_steps].double()
        return torch.cat([torch.ones_like(present[..., :1]), present, present.prod(-1, keepdim=True)], dim=-1)

    moments = sum(torch.einsum("tnbi,tnbj->ij", regressors(batch), regressors(batch)) for batch in sampled)
    mixed = sum(torch.einsum("tnbi,tnbo->io", regressors(batch), batch.targets.double()) for batch in sampled)
    weights = torch.linalg.pinv(moments, hermitian=True) @ mixed
    return lambda batch: regressors(batch) @ weights


@every_task
def test_the_answers_loss_is_where_the_facts_say(task):
    batch = stack([task.sample(64, generator())])
    answered, facts = task.answer_outputs(batch), task.facts
    assert answered.any()
    assert not (answered & ~batch.answer).any()
    assert len(set(answered.sum(0).flatten().tolist())) == 1
    assert torch.equal(answered, batch.counted) == facts.answer_alone
    asks_last = int(batch.loss_steps[-1]) == len(batch.inputs) - 1
    assert bool(asks_last and answered[-1].all()) == facts.answer_at_end

    outputs = torch.randn(*batch.targets.shape[:3], facts.output_size, generator=generator(), requires_grad=True)
    loss = task.answer_loss(outputs, batch)
    (gradient,) = torch.autograd.grad(loss.sum(), outputs)
    assert torch.equal(gradient.any(-1), answered)
    assert torch.allclose(loss, task.losses(outputs, batch)[answered].mean())


@every_task
def test_other_lengths(task):
    now = task.facts.seq_len
    if task.length_field is None:
        assert task.with_seq_len(now) is task
        with pytest.raises(ConfigError, match=f"{now} time steps only, not of {now + 1}"):
            task.with_seq_len(now + 1)
        return
    for seq_len in (now, now + 1, now + 37):
        longer = task.with_seq_len(seq_len)
        assert longer.facts.seq_len == seq_len == len(longer.sample(3, generator()).inputs)
        assert longer.facts.output_names == task.facts.output_names
        assert longer.facts.input_names == task.facts.input_names
    with pytest.raises(ConfigError, match=task.length_field):
        task.with_seq_len(0)


@every_task
def test_facts(task):
    facts, held_out = task.facts, task.held_out().facts
    assert 0 < facts.chance_loss < math.inf
    assert 0 < facts.chance_accuracy < 1
    assert facts.memoryless_loss is None or 0 <= facts.memoryless_loss < math.inf
    assert (facts.seq_len, facts.input_names, facts.output_names, facts.encoding, facts.solved) == (
        held_out.seq_len,
        held_out.input_names,
        held_out.output_names,
        held_out.encoding,
        held_out.solved,
    )
    assert len(set(facts.output_names)) == len(facts.output_names)
    assert len(set(facts.input_names)) == len(facts.input_names)
    batch = stack([task.held_out().sample(4, generator())])
    metrics = task.metrics(torch.zeros(*batch.targets.shape[:3], facts.output_size), batch)
    assert {"loss", "answer_loss", "accuracy"} <= set(metrics)
    if facts.solved is not None:
        assert facts.solved.metric in metrics
        # Nobody solves it by chance.
        assert not facts.solved.is_met(
            {"accuracy": torch.tensor([facts.chance_accuracy]), "answer_loss": torch.tensor([facts.chance_loss])}
        )
