"""Groups of the configuration: the folders of `conf` from which a run chooses its members."""

SINGLE = ("task", "model", "optimizer", "schedule")
"""Groups that give a run one member each."""

SEVERAL = {"init": "model.init", "mitigation": "mitigation", "instrument": "instrument"}
"""Groups that may give a run several members, with the key that holds them."""

FILES = (*SINGLE, *SEVERAL, "train", "experiment")
"""All groups whose members are files in `conf`."""

SECTIONS = (*SINGLE, "mitigation", "instrument", "train", "eval", "numerics")
"""Keys of a configuration that hold more keys."""

CHOSEN = ("task", "model", "init", "mitigation", "optimizer", "schedule")
"""Groups whose chosen members are stored with the run, in the order for people."""

IN_SHORT = ("model", "init", "mitigation")
"""Groups whose members make the short name of a run."""
