"""The training loop: step, evaluation, checkpoints. Knows interfaces, no member, no Hydra."""
