"""Figures as every part of the product writes them."""

# It is narrow, and a line never breaks at it.
THIN_SPACE = "\u202f"


def near_one(share: float) -> str:
    """A share near one as a percentage, to a thousandth of a per cent: 99.9 % and 99.99 % are ten times apart."""
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + " %"


def grouped(number: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}".replace(",", THIN_SPACE)


def signed(change: float, digits: int | None = 1) -> str:
    """A relative change in per cent with its sign, a true minus; `digits` after the point, None: as many as it has."""
    return (f"{100 * change:+g} %" if digits is None else f"{100 * change:+.{digits}f} %").replace("-", "−")
