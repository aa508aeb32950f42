"""One call and all its tries, without any input or output: what both clients do, apart from waiting and sending."""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import ValidationError

from trajops import __version__
from trajops.client.call import Call
from trajops.client.errors import ApiProblem, ApiUnavailable
from trajops.client.retries import Failure, Kind, Policy, Retry, retry_after_s
from trajops.contracts.problems import Problem

A = TypeVar("A")
# A wait of 0 s means "do not block", which is something else.
_SHORTEST_WAIT_S = 0.001


@dataclass(frozen=True, slots=True)
class Options:
    """How a client calls.

    Attributes:
        base_url: of the API, without a trailing slash.
        token: bearer token or API key; None: anonymous.
        connect_s: longest wait for a connection.
        read_s: longest wait for the next part of an answer.
        deadline_s: of a call: all its tries and the pauses between them.
        policy: which tries are repeated, and when.
        connections: async: most connections at once; sync: most that are kept open between calls.
        ca_file: certificates that vouch for an https API, in place of the public ones.
    """

    base_url: str
    token: str | None
    connect_s: float
    read_s: float
    deadline_s: float
    policy: Policy
    connections: int
    ca_file: str | None

    def __post_init__(self) -> None:
        """Refuse at once what could never be called."""
        if not _is_address(self.base_url):
            raise ValueError(f"{self.base_url!r} is no address of an API; it reads http://HOST:PORT or https://HOST:PORT, without ? and #")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip() == self.token != ""):
            # Not shown: it is a secret.
            raise ValueError("the token is empty, or holds blanks, line ends or other characters that no token has; None means anonymous")
        if min(self.connect_s, self.read_s, self.deadline_s) <= 0 or self.connections < 1:
            raise ValueError("connect_s, read_s and deadline_s must be above 0, connections at least 1")


class Waits(NamedTuple):
    """Time-outs of one try, seconds."""

    connect_s: float
    read_s: float
    left_s: float


class Reply(NamedTuple):
    """An answer, whole.

    Attributes:
        headers: by name, in any case.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class Broken(NamedTuple):
    """A try without an answer.

    Attributes:
        words: what happened, for the sentence of the error.
    """

    cause: Exception
    is_unsent: bool
    words: str


class Exchange(Generic[A]):
    """One call on its way: its headers, its deadline, and what follows from each try.

    Args:
        call: what to send.
        options: of the client.
        clock: seconds that only grow.
        chance: uniform in [0, 1).
    """

    def __init__(
        self, call: Call[A], options: Options, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._call, self._options, self._clock, self._chance = call, options, clock, chance
        self._ends_s = clock() + options.deadline_s
        self._tries = 0
        self.request_id = uuid.uuid4().hex
        self.method, self.content = call.method, call.content
        given = {name: value for name, value in call.query.items() if value is not None}
        self.url = options.base_url + call.path + (f"?{urlencode(given)}" if given else "")
        self.headers = self._headers()

    def waits(self) -> Waits:
        """Begin a try: how long it may take."""
        self._tries += 1
        left_s = max(self._ends_s - self._clock(), _SHORTEST_WAIT_S)
        return Waits(min(self._options.connect_s, left_s), min(self._options.read_s, left_s), left_s)

    @property
    def left_s(self) -> float:
        """Until the deadline, seconds; negative after it."""
        return self._ends_s - self._clock()

    def pause_after(self, outcome: Reply | Broken) -> float | None:
        """Judge a try: the pause before the next one; None: the reply is the answer.

        Raises:
            ApiProblem: if the answer is a problem that is not tried away.
            ApiUnavailable: if there is no answer, and there will be none.
        """
        if isinstance(outcome, Broken):
            failure = Failure(Kind.UNSENT if outcome.is_unsent else Kind.LOST)
            error: ApiProblem | ApiUnavailable = self._unavailable(outcome)
        elif 200 <= outcome.status < 300 or outcome.status in self._call.passes:
            return None
        else:
            error = self._problem(outcome)
            own = None if error.code == "http_error" else error.code
            failure = Failure(Kind.ANSWERED, outcome.status, own, error.retry_after_s)
        pause_s = self._options.policy.pause_s(
            self._call.retry, failure, tries=self._tries, left_s=self._ends_s - self._clock(), chance=self._chance()
        )
        if pause_s is None:
            raise error from (outcome.cause if isinstance(outcome, Broken) else None)
        return pause_s

    def answer(self, reply: Reply) -> A:
        """What the call gives.

        Raises:
            ApiProblem: if the body is something else.
        """
        try:
            return self._call.read(reply.content)
        except ValueError as error:
            said = (
                f"{self.method} {self._call.path} answered with something other than {self._call.gives}; "
                "the API must be of this client's release or a later one"
            )
            raise ApiProblem(reply.status, "unexpected_answer", said, request_id=self._logged_as(reply)) from error

    def _headers(self) -> dict[str, str]:
        call = self._call
        headers = {"Accept": call.accept, "User-Agent": f"trajops/{__version__}", "X-Request-ID": self.request_id}
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {self._options.token}"
        if call.content is not None:
            headers["Content-Type"] = call.content_type
        headers |= call.headers
        if call.retry is Retry.KEYED:
            headers["Idempotency-Key"] = call.idempotency_key or uuid.uuid4().hex
        return headers

    def _logged_as(self, reply: Reply) -> str:
        return reply.headers.get("x-request-id") or self.request_id

    def _problem(self, reply: Reply) -> ApiProblem:
        """The problem in an answer; a proxy's page or an empty body becomes one too."""
        after_s = retry_after_s(reply.headers.get("retry-after"), datetime.now(UTC))
        try:
            problem = Problem.model_validate_json(reply.content, extra="ignore")
        except ValidationError:
            said = f"the API answered {reply.status} {reply.reason}"
            return ApiProblem(reply.status, "http_error", said, request_id=self._logged_as(reply), retry_after_s=after_s)
        logged_as = problem.request_id or self._logged_as(reply)
        return ApiProblem(problem.status, problem.code, problem.detail, problem.errors, logged_as, after_s)

    def _unavailable(self, broken: Broken) -> ApiUnavailable:
        words = broken.words if self._tries == 1 else f"{broken.words}, tried {self._tries} times"
        said = f"the API at {self._options.base_url} does not answer ({words}); see whether it runs, and whether this is its address"
        return ApiUnavailable(said, cause=broken.cause, request_id=self.request_id, is_unsent=broken.is_unsent, tries=self._tries)


def _is_address(base_url: str) -> bool:
    """Whether an API may answer there."""
    try:
        parts = urlsplit(base_url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
