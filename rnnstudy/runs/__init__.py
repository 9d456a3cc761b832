"""Everything on the disk: run folders, their files, what identifies a run. No torch, no Hydra, no matplotlib."""
