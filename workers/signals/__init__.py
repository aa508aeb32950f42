"""Where alert rules get their figures from: one function a source.

To add one, write a function that takes a `View` and yields signals into the module that it fits, and put `@source("its_first_signal", …)`
above it with the names of all signals that it yields. That is all: rules in `configs/alerts.yaml` may name them then, and a rule that names
none of them is refused with its line. For example, the share of rows with a missing field:

    @source("missing_field_share")
    def _missing_fields(view: View) -> Iterator[Signal]:
        for field, share in view.lake().missing_shares(minutes=5).items():
            detail = f"{100 * share:.0f} % of the rows of the last five minutes have no {field}."
            yield Signal("missing_field_share", share, view.at, {"field": field}, detail)

A source that has nothing to say yields nothing; what the rule's `missing` says then holds. One that raises takes no other with it: the
signal `source_failed` names it. All are asked every two seconds, each in a read-only transaction of its own, so a source must be cheap;
what costs more than a few milliseconds belongs into a job of its own, whose result is read here.
"""

from workers.signals import drift, models, service
from workers.signals.sources import SignalReader, View, signal_names

__all__ = ["SignalReader", "View", "drift", "models", "service", "signal_names"]
