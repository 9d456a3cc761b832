"""`python scripts/bench.py ...`: measure the engine, memory or a run; the same as `rnnstudy bench ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["bench", *sys.argv[1:]]))
