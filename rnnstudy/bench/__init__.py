"""What things cost: the engine against torch.nn, a run's step by its parts, memory."""
