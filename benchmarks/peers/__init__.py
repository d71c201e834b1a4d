"""The same trained network in other runtimes, timed in turn with edgecell's files."""
