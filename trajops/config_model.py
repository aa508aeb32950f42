"""What the models of configuration files are made of. They stand in wire models too, so nothing here reads a file."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Whatever is longer or more is a slip of the pen that would only come to light when a job reckons with it.
Seconds = Annotated[float, Field(le=366 * 86_400)]
Days = Annotated[float, Field(le=3_660)]
MOST = 1_000_000_000
Count = Annotated[int, Field(le=MOST)]
Factor = Annotated[float, Field(le=1_000)]


class Config(BaseModel):
    """Base of every configuration file's model: unknown keys are refused, and figures that are infinite or none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _let_yes_be_no_number(cls, given: Any) -> Any:
        """Pydantic would take `for_s: yes` for one second; as a word it is refused, with its place."""
        if not isinstance(given, dict):
            return given
        return {name: str(value).lower() if isinstance(value, bool) and cls._is_number(name) else value for name, value in given.items()}

    @classmethod
    def _is_number(cls, name: Any) -> bool:
        field = cls.model_fields.get(name)
        return field is not None and _holds_number(field.annotation)


def _holds_number(kind: Any) -> bool:
    return kind in (int, float) or any(map(_holds_number, get_args(kind)))
