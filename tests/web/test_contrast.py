"""Text on the page keeps the contrast of WCAG 2.2 AA (4.5 to 1), in both colour schemes."""

from __future__ import annotations

import re

import pytest

from actors.serve.web import STATIC_DIR

AA = 4.5
TEXT = ("text", "muted", "charge", "discharge", "soc", "price", "good", "warn", "bad")
Rgb = tuple[float, float, float]


def palette(scheme: str) -> dict[str, Rgb]:
    """Colours of one scheme; the dark one overrides the light one."""
    css = (STATIC_DIR / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{([^}]*)\}", css)[:2]
    found = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", dark))
    return {name: rgb(digits) for name, digits in found.items()}


def rgb(digits: str) -> Rgb:
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def mixed(tone: Rgb, ground: Rgb, share: float) -> Rgb:
    red, green, blue = (t * share + g * (1 - share) for t, g in zip(tone, ground, strict=True))
    return red, green, blue


def luminance(colour: Rgb) -> float:
    """Source: WCAG 2.2, definition of relative luminance."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", TEXT)
def test_text_is_readable_on_every_ground(scheme: str, name: str) -> None:
    colours = palette(scheme)
    chosen_row = mixed(colours["charge"], colours["panel"], 0.09)
    grounds = [colours["panel"], colours["bg"], colours["raised"], chosen_row]
    assert min(contrast(colours[name], ground) for ground in grounds) >= AA


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["muted", "good", "warn", "bad"])
def test_a_state_pill_is_readable_on_its_own_tint(scheme: str, name: str) -> None:
    colours = palette(scheme)
    chosen_row = mixed(colours["charge"], colours["panel"], 0.09)
    tint = mixed(colours[name], chosen_row, 0.13)
    assert contrast(colours[name], tint) >= AA
