"""TrajOps core: the domain of trajectory prediction, pure Python on numpy, scipy and pydantic."""

__version__ = "0.1.0"
