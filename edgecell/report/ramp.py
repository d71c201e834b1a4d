"""The colours of a heat map: one dark-to-light ramp that is also read without colour."""

from __future__ import annotations

# Five stops from dark blue over grey to yellow, of about even steps in lightness: read alike with
# the common colour-vision deficiencies and in a grey print.
_STOPS = ((13, 42, 92), (63, 84, 118), (119, 122, 122), (178, 163, 104), (250, 226, 96))


def background(share: float) -> str:
    """The colour of ``share``, 0 (dark) to 1 (light), as CSS."""
    return "rgb({}, {}, {})".format(*_mix(share))


def ink(share: float) -> str:
    """Black or white, whichever is read better on :func:`background`; contrast at least 4.5 to 1."""
    light = luminance(_mix(share))
    return "#000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#fff"


def gradient() -> str:
    """The whole ramp as CSS, dark end first."""
    return f"linear-gradient(to right, {', '.join(background(i / 4) for i in range(5))})"


def luminance(colour: tuple[int, ...]) -> float:
    """Relative luminance of an sRGB colour, 0…1, as WCAG 2.2 defines it."""
    parts = [value / 255 for value in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mix(share: float) -> tuple[int, ...]:
    position = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    i = min(int(position), len(_STOPS) - 2)
    return tuple(
        round(a + (b - a) * (position - i)) for a, b in zip(_STOPS[i], _STOPS[i + 1], strict=True)
    )
