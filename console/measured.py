"""Which tracks the validation figures of a version were measured on: on other tracks they compare with nothing. Pure."""

from collections.abc import Sequence

from trajops.contracts.models import ModelVersionOut

SHOWN_DIGITS = 8


def is_comparable(one: ModelVersionOut | None, other: ModelVersionOut | None) -> bool:
    """Whether two versions are known to have been measured on the same windows of the same tracks."""
    return one is not None and other is not None and bool(_fingerprint(one)) and _fingerprint(one) == _fingerprint(other)


def dataset_words(version: ModelVersionOut, versions: Sequence[ModelVersionOut]) -> str:
    """The name of the tracks that a version was measured on.

    An adopted version carries only the fingerprint of its windows; the name is that of a trained version with the same one, or
    the start of the fingerprint where there is none.
    """
    own = version.params.get("dataset")
    if own:
        return own
    same = (other.params["dataset"] for other in versions if other.params.get("dataset") and is_comparable(version, other))
    fingerprint = _fingerprint(version)
    return next(same, f"tracks {fingerprint[:SHOWN_DIGITS]}" if fingerprint else "unknown tracks")


def _fingerprint(version: ModelVersionOut) -> str:
    return version.params.get("data_fingerprint", "").removeprefix("sha256:")
