"""`python scripts/theory.py ...`: why gradients vanish and explode; the same as `rnnstudy theory ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["theory", *sys.argv[1:]]))
