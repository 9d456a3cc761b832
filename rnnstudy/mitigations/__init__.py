"""What is tried against vanishing and exploding gradients; one file a mitigation."""
