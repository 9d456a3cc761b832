"""Random streams: the only place where a seed is set."""

import hashlib

import torch


def make_generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose stream depends on the seed and the stream's name alone.

    Replica r of a run with seed s uses the seed s + r, so it draws the same numbers whatever stands beside it.

    Args:
        seed: Seed of one replica.
        stream: What the numbers are for ("init", "train", "eval", ...); streams are independent of each other.
        device: Where the numbers are drawn.
    """
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    generator = torch.Generator(device)
    generator.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    return generator


def branch(generator: torch.Generator, stream: str) -> torch.Generator:
    """Return a generator for a part of what another one is for; independent of how much has been drawn from that."""
    return make_generator(generator.initial_seed(), stream)


def replica_generators(
    seed: int, replicas: int, stream: str, device: torch.device | str = "cpu"
) -> list[torch.Generator]:
    """One independent generator per replica, seeded `seed + r`."""
    return [make_generator(seed + replica, stream, device) for replica in range(replicas)]
