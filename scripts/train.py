"""`python scripts/train.py ...`: train one configuration or a sweep; the same as `rnnstudy train ...`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
