"""Engine: cells unrolled over time, with the exact adjoint of every hidden state."""
