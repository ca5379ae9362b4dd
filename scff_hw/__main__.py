"""Entry point of `python -m scff_hw`, which is the command `scff-hw`."""

import sys

from scff_hw.cli import main

sys.exit(main())
