"""Where the process starts: ``python -m edgecell`` and the ``edgecell`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it; always ends the process."""
    try:
        from edgecell.cli import main as command
    except KeyboardInterrupt:  # loading takes half a second
        sys.stderr.write("edgecell: interrupted before it began\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
