"""``python -m gmcn`` is the command ``gmcn``."""

import sys

from gmcn.cli import main

sys.exit(main())
