"""One self-contained HTML file for a run: whatever stages finished, pictures inside, no network."""

from __future__ import annotations

from edgecell.report.html import render, write

__all__ = ["render", "write"]
