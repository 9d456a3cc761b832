"""`python scripts/verify.py ...`: check every gradient on this machine; the same as `rnnstudy verify ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["verify", *sys.argv[1:]]))
