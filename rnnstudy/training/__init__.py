"""Training loop: step, evaluation, checkpoints. Imports interfaces, but no member and no Hydra."""
