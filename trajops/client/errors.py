"""What a client raises: the API answered with a problem, or it did not answer."""

from collections.abc import Sequence

from trajops.contracts.problems import FieldProblem


class ApiProblem(Exception):
    """The API answered, and the answer is a problem.

    Attributes:
        status: HTTP status.
        code: stable code to program against (docs/errors.md); `http_error` if the answer is not a problem document.
        detail: what is wrong, where, and how to mend it.
        errors: one entry a field that could not be used.
        request_id: to find the call in the API's logs.
        retry_after_s: when to try again, seconds; None: the API does not say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        logged = "" if request_id is None else f", request {request_id}"
        super().__init__(f"{detail} ({code}, {status}{logged})")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class ApiUnavailable(Exception):
    """The API cannot be reached, or does not answer in time.

    Attributes:
        cause: what the transport says; also the exception's `__cause__`. None: there was no time for a try.
        request_id: under which the call was sent.
        is_unsent: whether the newest try never reached the API, so that it did nothing.
        tries: how often the call was tried.
    """

    def __init__(self, sentence: str, *, cause: Exception | None, request_id: str, is_unsent: bool, tries: int) -> None:
        super().__init__(sentence)
        self.cause = cause
        self.request_id = request_id
        self.is_unsent = is_unsent
        self.tries = tries
