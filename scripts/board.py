"""`python scripts/board.py ...`: start TensorBoard on the runs below a folder; the same as `rnnstudy board ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["board", *sys.argv[1:]]))
