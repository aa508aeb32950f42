"""What one call of the API is, and how its one description becomes a method of a client that waits and of one that awaits.

A description says method, path, body, answer and what may be done again; it sends nothing. `described` turns a method that
returns one into a method that sends it: `client.predict(body)` is a `PredictOut` where the client's `send` blocks, and
awaits to one where it does not. Type checkers see both, with the names of the arguments.
"""

import functools
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, get_args, overload
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from trajops.client.retries import Retry
from trajops.errors import InvalidInput

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[A_co]):
    """One call, ready to be sent.

    Attributes:
        method: of HTTP.
        path: below the base address, its parts quoted.
        read: turns the body of an answer into what the call gives; a ValueError says that it is something else.
        gives: what that is called.
        retry: what may be done about a try that failed.
        query: parameters after the path; those that are None are left out.
        content: the body.
        content_type: of the body.
        accept: the media type of the answer.
        passes: statuses that are answers, although they are not 2xx.
        idempotency_key: the caller's own; where it is None and `retry` needs one, it is made when the call is sent.
        headers: further ones.

    Raises:
        InvalidInput: if the key cannot be a header, or a parameter is no text.
    """

    method: Literal["GET", "POST"]
    path: str
    read: Callable[[bytes], A_co]
    gives: str
    retry: Retry
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    content: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    passes: frozenset[int] = frozenset()
    idempotency_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = self.idempotency_key
        if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise InvalidInput(
                "an idempotency key is a text of ASCII that is not empty and has no line ends or blanks around it, not "
                f"{key!r}; nothing was sent"
            )
        for name, value in self.query.items():
            if isinstance(value, str) and not _is_text(value):
                raise InvalidInput(f"{name} is no text that can be sent: {value!r}; nothing was sent")


class SendsBlocking(ABC):
    """A client whose methods return answers."""

    @abstractmethod
    def send(self, call: Call[A]) -> A:
        """Send a call."""


class SendsAwaiting(ABC):
    """A client whose methods are awaited."""

    @abstractmethod
    async def send(self, call: Call[A]) -> A:
        """Send a call."""


class Described(Protocol[P, A_co]):
    """A method as type checkers see it: its answer depends on the client that it belongs to."""

    @overload
    def __get__(self, client: SendsBlocking, owner: type | None = None) -> Callable[P, A_co]: ...
    @overload
    def __get__(self, client: SendsAwaiting, owner: type | None = None) -> Callable[P, Coroutine[Any, Any, A_co]]: ...
    @overload
    def __get__(self, client: None, owner: type | None = None) -> Callable[Concatenate[Any, P], Any]: ...


def described(describe: Callable[Concatenate[Any, P], Call[A]]) -> Described[P, A]:
    """Make a method that sends what `describe` describes.

    The method raises InvalidInput, with one sentence, before anything is sent, where its arguments make no body that the API takes.
    """

    @functools.wraps(describe)
    def ask(client: SendsBlocking | SendsAwaiting, *args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            call = describe(client, *args, **kwargs)
        except ValidationError as error:
            raise InvalidInput(f"{describe.__name__}: {'; '.join(map(_refused, error.errors()))}; nothing was sent") from error
        return client.send(call)

    shown = inspect.signature(describe)
    ask.__signature__ = shown.replace(return_annotation=get_args(shown.return_annotation)[0])  # type: ignore[attr-defined]
    return cast("Described[P, A]", ask)


def get(path: str, gives: type[Model], **query: str | int | None) -> Call[Model]:
    """A read."""
    return Call("GET", path, reader(gives), gives.__name__, Retry.READ, query=query)


def text(path: str, accept: str) -> Call[str]:
    """A read whose answer is not JSON."""
    return Call("GET", path, _decoded, "text", Retry.READ, accept=accept)


def post(
    path: str, gives: type[Model], body: BaseModel | Mapping[str, str] | None, retry: Retry, idempotency_key: str | None = None
) -> Call[Model]:
    """A call with a body; what the caller did not set in a model is not sent."""
    written = body.model_dump_json(exclude_unset=True) if isinstance(body, BaseModel) else None if body is None else json.dumps(body)
    content = None if written is None else written.encode()
    return Call("POST", path, reader(gives), gives.__name__, retry, content=content, idempotency_key=idempotency_key)


def at(template: str, *parts: str) -> str:
    """A path with its `{}` filled in.

    Raises:
        InvalidInput: if a part is no text that names something, for example None, or a way out of the path.
    """
    for part in parts:
        if not isinstance(part, str) or part in {"", ".", ".."} or not _is_text(part):
            raise InvalidInput(f"{template.replace('{}', '…')} takes the id of something, not {part!r}; nothing was sent")
    return template.format(*(quote(part, safe="") for part in parts))


def _is_text(value: str) -> bool:
    """Whether it can be encoded: half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def iso(moment: datetime | None) -> str | None:
    """A time as the API takes it in a query."""
    return None if moment is None else moment.isoformat()


def reader(gives: type[Model]) -> Callable[[bytes], Model]:
    """Reads an answer. A newer API may say more than this release knows: what is unknown is left out."""
    return functools.partial(gives.model_validate_json, extra="ignore")


def _refused(found: Mapping[str, Any]) -> str:
    """One thing that is wrong with a body, in words."""
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {found['msg']}" if place else str(found["msg"])


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")
