"""`python -m scff_hw` is `scff-hw`."""

import sys

from scff_hw.cli import main

sys.exit(main())
