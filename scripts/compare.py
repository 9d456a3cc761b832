"""`python scripts/compare.py ...`: compare the runs below a folder; the same as `rnnstudy compare ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["compare", *sys.argv[1:]]))
