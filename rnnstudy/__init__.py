"""Study how gradients vanish and explode in recurrent networks: train, watch, compare."""

__version__ = "0.1.0"
