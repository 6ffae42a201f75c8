"""`python -m clipsearch`, the same as the `clipsearch` command."""

import sys

from clipsearch.cli import main

sys.exit(main())
