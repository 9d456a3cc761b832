"""`python -m rnnstudy`."""

import sys

from rnnstudy.cli.main import main

sys.exit(main())
