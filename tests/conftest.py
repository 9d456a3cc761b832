import torch

# Two threads inside operations this small are slower than one, and far slower on a busy machine.
torch.set_num_threads(1)
