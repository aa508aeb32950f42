"""Figures as every part of the product writes them."""

# It is narrow, and a line never breaks at it.
THIN_SPACE = "\u202f"


def grouped(number: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}".replace(",", THIN_SPACE)
