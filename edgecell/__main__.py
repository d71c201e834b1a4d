"""``python -m edgecell``."""

from edgecell.cli import main

main()
