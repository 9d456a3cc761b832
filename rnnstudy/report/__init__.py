"""From run folders to a table, figures and a page; needs neither torch nor Hydra."""
