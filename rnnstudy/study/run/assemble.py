"""The parts of a run, built from its plan."""

import torch

from rnnstudy.config.schema import Plan
from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface
from rnnstudy.tasks.base import Task
from rnnstudy.training.loop import Parts


def interface_of(task: Task) -> Interface:
    """Return the interface that a task requires of a network."""
    facts = task.facts
    return Interface(
        input_size=facts.input_size, output_size=facts.output_size, encoding=facts.encoding, seq_len=facts.seq_len
    )


def assemble(plan: Plan, device: torch.device) -> Parts:
    """Build everything that a plan asks for, including the network with its initial weights."""
    generators = replica_generators(plan.run.seed, plan.run.replicas, "init")
    network = plan.model.build(interface_of(plan.task), generators)
    for mitigation in plan.mitigations:
        mitigation.prepare(network)
    network.to(device)
    return Parts(
        task=plan.task,
        seq_lens=plan.seq_lens,
        other_seq_lens=plan.eval.seq_lens,
        solved_batch_size=plan.eval.solved_batch_size,
        network=network,
        mitigations=plan.mitigations,
        instruments=plan.instruments,
        optimizer=plan.make_optimizer(network),
        schedule=plan.schedule,
        settings=plan.train,
        seed=plan.run.seed,
    )
