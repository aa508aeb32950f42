"""Additive sums over the units of an arm: all that the statistics of an experiment need, so that a database can make them.

Fields are numbers, or arrays of one shape: a simulation follows many experiments at once.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from trajops.trajectories import FloatArray

# A number, or an array of one shape with the others.
Figures = float | FloatArray


@dataclass(frozen=True, slots=True)
class _Additive:
    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class ArmSums(_Additive):
    """Sums over the units of one arm, each of which has one value `y` and one covariate `x` that assignment cannot change.

    Attributes:
        units: number of units.
        y: sum of values.
        yy: sum of their squares.
        x: sum of covariates.
        xx: sum of their squares.
        xy: sum of products.
    """

    units: Figures
    y: Figures
    yy: Figures
    x: Figures
    xx: Figures
    xy: Figures

    @classmethod
    def of(cls, y: FloatArray, x: FloatArray) -> Self:
        """Of (U,) values and covariates."""
        return cls(float(len(y)), float(y.sum()), float(y @ y), float(x.sum()), float(x @ x), float(x @ y))

    @property
    def mean(self) -> Any:
        """Mean value; 0 where there is no unit."""
        return self.y / np.maximum(self.units, 1)

    def spread(self) -> tuple[Any, Any, Any]:
        """Sums of squares about the means: of values, of covariates, and of their products."""
        units = np.maximum(self.units, 1)
        return self.yy - self.y * self.y / units, self.xx - self.x * self.x / units, self.xy - self.x * self.y / units


@dataclass(frozen=True, slots=True)
class PairSums(_Additive):
    """Sums over units that both models answered: `a` the control's value of a unit, `b` the treatment's.

    Attributes:
        units: number of units.
        a: sum of the control's values.
        b: sum of the treatment's.
        aa: sum of squares of the control's.
        bb: of the treatment's.
        ab: sum of products.
    """

    units: Figures
    a: Figures
    b: Figures
    aa: Figures
    bb: Figures
    ab: Figures

    @classmethod
    def of(cls, a: FloatArray, b: FloatArray) -> Self:
        """Of (U,) values of the control and of the treatment."""
        return cls(float(len(a)), float(a.sum()), float(b.sum()), float(a @ a), float(b @ b), float(a @ b))
