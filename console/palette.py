"""Colours of the two appearances; the same tokens stand in `.streamlit/config.toml`, and a test holds them equal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one appearance, checked for contrast and colour-blindness.

    Attributes:
        text, muted, grid, surface: of the page.
        ok, warn, bad, info, unknown: of states.
        series: of lines, in order of model version.
    """

    text: str
    muted: str
    grid: str
    surface: str
    ok: str
    warn: str
    bad: str
    info: str
    unknown: str
    series: tuple[str, ...]


LIGHT = Palette(
    text="#0B1118",
    muted="#5B6673",
    grid="#E1E6EC",
    surface="#FFFFFF",
    ok="#037747",
    warn="#B35605",
    bad="#8E0B21",
    info="#0B4F9E",
    unknown="#5B6673",
    series=("#0B62C4", "#B35605", "#037747", "#7A3FA8", "#8E0B21", "#00788A"),
)
DARK = Palette(
    text="#E6EBF1",
    muted="#9AA7B5",
    grid="#2C3947",
    surface="#0E141B",
    ok="#38D9A0",
    warn="#F9A006",
    bad="#FB5F51",
    info="#389FFA",
    unknown="#9AA7B5",
    series=("#389FFA", "#F9A006", "#38D9A0", "#B98AF0", "#FB5F51", "#35C5D8"),
)
