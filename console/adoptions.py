"""What is said about versions that were registered in MLflow and cannot be staged: their state, and what to do about it. Pure."""

from console.wording import Mark
from trajops.contracts.models import AdoptionOut

_MARKS = {"waiting": Mark("Waiting", "info", "hourglass_top"), "refused": Mark("Refused", "bad", "block")}
_REFUSED = {
    "unsafe_model": (
        "With `TRAJOPS_ALLOW_PICKLED_MODELS=true` set for the workers and for the API, restart both: this version is then tried again by "
        "itself. An ONNX export is registered as a version of its own and needs no consent."
    ),
    "environment": "Install what is missing where the workers run, and restart them; it is then tried again by itself.",
    "not_found": "Its files are gone from MLflow. Log the model again and register it under the same name.",
}
_CORRECT = (
    "Correct the model and register it again under the same name; it gets a version of its own. Inputs and outputs that are wanted "
    "stand in the README under “Your own model”."
)


def adoption_mark(adoption: AdoptionOut) -> Mark:
    """Whether it waits or was refused."""
    return _MARKS[adoption.state]


def adoption_help(adoption: AdoptionOut) -> str:
    """What to do next, as Markdown."""
    at_once = f"`python -m workers.training --adopt {adoption.model_version}`"
    if adoption.state == "refused":
        return _REFUSED.get(adoption.code or "", _CORRECT)
    if adoption.code is not None:
        return f"Nothing to do here: it is tried again by itself as soon as that part answers. To try at once: {at_once}."
    return f"Nothing to do: it is measured and listed above by itself within a few minutes. To have it at once: {at_once}."
