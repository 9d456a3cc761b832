"""Random streams: the only place where a seed is set."""

import hashlib

import torch


def make_generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` whose stream depends only on the seed and the stream's name.

    Replica r of a run with seed s uses seed s + r, so its numbers do not depend on other replicas. `stream` names their
    purpose ("init", "train", "eval", ...); streams are independent of each other.
    """
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    generator = torch.Generator(device)
    generator.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    return generator


def branch(generator: torch.Generator, stream: str) -> torch.Generator:
    """Return a generator for a part of another one's purpose, independent of how much that one has drawn."""
    return make_generator(generator.initial_seed(), stream)


def replica_generators(
    seed: int, replicas: int, stream: str, device: torch.device | str = "cpu"
) -> list[torch.Generator]:
    """Return one independent generator per replica, seeded `seed + r`."""
    return [make_generator(seed + replica, stream, device) for replica in range(replicas)]
