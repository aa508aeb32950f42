"""What is asked of the audit: which entries, and from where on."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from trajops.errors import InvalidInput

PREFIX_ENDS = (".", "/", ":")  # as actions, subjects and actors are put together
MOST_DIGITS = 17  # of microseconds since 1970; far within the calendar
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Place(NamedTuple):
    """Where an entry stands: newest first, and by id where several were written at once.

    Entries are never changed, so a place stays what it is however many newer ones come.
    """

    at: datetime
    audit_id: str

    def cursor(self) -> str:
        """The place as text for a query."""
        return f"{(self.at - _EPOCH) // _MICROSECOND}-{self.audit_id}"

    @classmethod
    def of(cls, cursor: str) -> Self:
        """The place that `cursor` made a text of.

        Raises:
            InvalidInput: if it is not such a text.
        """
        count, _, audit_id = cursor.partition("-")
        if not (count.isascii() and count.isdigit() and len(count) <= MOST_DIGITS and audit_id.isascii() and audit_id.isalnum()):
            raise InvalidInput("the cursor is not one of this API; take `next_cursor` of the page before, or leave it out")
        return cls(_EPOCH + int(count) * _MICROSECOND, audit_id)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries are wanted; what is None leaves everything in.

    Attributes:
        since: at or after this time.
        until: before this time.
        actor, action, subject: exactly this, or what begins with it where it ends in one of PREFIX_ENDS, for example `experiment.`.
        text: stands in the reason, in any case.
        after: only what is listed after this place.
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    text: str | None = None
    after: Place | None = None


def is_prefix(wanted: str) -> bool:
    """Whether all that begins with it is wanted."""
    return wanted.endswith(PREFIX_ENDS)
