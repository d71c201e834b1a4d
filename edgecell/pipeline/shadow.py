"""Are ``converters`` and ``benchmarks`` ours? A user's own folder of that name can shadow them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edgecell.errors import ConfigError


def check() -> None:
    """Refuse to work with packages that do not stand beside ``edgecell``.

    Raises:
        ConfigError: another package of that name comes first on Python's path.
    """
    home = Path(__file__).resolve().parents[2]
    for name in ("converters", "benchmarks"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
        if found != home:
            where = f"{found / name}" if found else "a folder without __init__.py"
            raise ConfigError(
                f"the package '{name}' comes from {where}, not from edgecell; run from another folder"
                " or rename yours"
            )
