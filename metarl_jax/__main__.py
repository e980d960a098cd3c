"""`python -m metarl_jax`: the command line."""

import sys

from metarl_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
