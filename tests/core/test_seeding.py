import torch

from rnnstudy.core.seeding import make_generator, replica_generators


def draw(generator):
    return torch.rand(8, generator=generator)


def test_a_replica_depends_on_its_own_seed_alone():
    three = [draw(generator) for generator in replica_generators(5, 3, "train")]
    alone = [draw(generator) for replica in range(3) for generator in replica_generators(5 + replica, 1, "train")]
    assert all(torch.equal(one, other) for one, other in zip(three, alone, strict=True))


def test_streams_and_seeds_are_told_apart():
    draws = [draw(make_generator(seed, stream)) for seed in range(20) for stream in ("init", "train", "eval")]
    assert len({tuple(values.tolist()) for values in draws}) == len(draws)


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    draw(make_generator(0, "init"))
    assert torch.equal(before, torch.get_rng_state())
