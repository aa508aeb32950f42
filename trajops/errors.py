"""Every error that TrajOps raises on purpose, each with a stable code.

TrajOpsError
├── InvalidInput            what a caller sent cannot be used
│   ├── ShapeError          an array has the wrong shape
│   ├── TooLarge            more bytes or items than one request may carry
│   ├── WindowTooShort      a track is too short for one window
│   └── SignatureMismatch   a model does not honour the tensor signature
├── NotFound                the named thing does not exist
├── Conflict                the thing changed meanwhile, or its state forbids the step
│   ├── StaleVersion
│   ├── IllegalTransition
│   ├── InRollout           a rollout decides what follows
│   ├── ModelNotLoadable
│   ├── NotValidated        a version has not been validated yet
│   └── BatteryFailed       a version has failed its battery
├── Unauthenticated         no valid credentials
├── Forbidden               valid credentials, but not for this
│   └── OutOfScope          the role would do, but the key is restricted to less
├── RateLimited             the client has used up what it may ask for; later it may again
│   └── BatchOverLimit      more in one request than the client may ever ask for at once
├── Unavailable             a part is away for the moment; try again
│   ├── NoModelReady
│   ├── Overloaded          more comes in than can be answered in time
│   └── RegistryUnavailable
├── UnsafeModel             a model would run pickled code and nobody opted in
└── EnvironmentProblem      the machine is not as it must be (port, disk, folder)

The API maps a code to an HTTP problem in `api/errors.py`, and nowhere else.
"""

from typing import Any, ClassVar


class TrajOpsError(Exception):
    """Root of the tree: a sentence that says what is wrong and how to mend it."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(TrajOpsError):
    """What the caller sent cannot be used."""

    code = "invalid_input"


class ShapeError(InvalidInput, ValueError):
    """An array does not have the documented shape, or holds a number that is not finite."""

    code = "invalid_shape"


class TooLarge(InvalidInput):
    """More bytes or items than one request may carry."""

    code = "too_large"


class WindowTooShort(InvalidInput):
    """A track does not span enough time for one observation window."""

    code = "window_too_short"


class SignatureMismatch(InvalidInput):
    """A model does not honour the documented tensor signature."""

    code = "signature_mismatch"


class NotFound(TrajOpsError):
    """The named thing does not exist."""

    code = "not_found"


class Conflict(TrajOpsError):
    """The present state does not allow what was asked."""

    code = "conflict"


class StaleVersion(Conflict):
    """The thing was changed by somebody else since the caller read it."""

    code = "stale_version"


class IllegalTransition(Conflict):
    """The transition table has no such step."""

    code = "illegal_transition"


class InRollout(Conflict):
    """The version is being rolled out, and its rollout promotes it behind its gates; `rollout_id` names it."""

    code = "in_rollout"


class ModelNotLoadable(Conflict):
    """The version cannot be made ready to answer, so it may not take traffic; nothing was changed."""

    code = "model_not_loadable"


class NotValidated(Conflict):
    """The version has not been held against the battery yet, so it may not be staged."""

    code = "not_validated"


class BatteryFailed(Conflict):
    """The version has failed its newest battery, so it may not be staged; `errors` names the checks."""

    code = "battery_failed"


class Unauthenticated(TrajOpsError):
    """No credentials, or credentials that are wrong or have expired."""

    code = "unauthenticated"


class Forbidden(TrajOpsError):
    """The credentials are valid, but the role does not allow this."""

    code = "forbidden"


class OutOfScope(Forbidden):
    """The role would allow this, but the API key is restricted to less."""

    code = "out_of_scope"


class RateLimited(TrajOpsError):
    """The client asks for more than it may; `Retry-After` says when it may again."""

    code = "rate_limited"


class BatchOverLimit(RateLimited):
    """One request asks for more than the client may ever ask for at once: sent again it is refused again."""

    code = "batch_over_limit"


class Unavailable(TrajOpsError):
    """A part is away for the moment; the same call may work later."""

    code = "unavailable"


class NoModelReady(Unavailable):
    """No warm model can answer."""

    code = "no_model_ready"


class Overloaded(Unavailable):
    """More comes in than can be answered in time; what was refused was not recorded."""

    code = "overloaded"


class RegistryUnavailable(Unavailable):
    """The model registry does not answer."""

    code = "registry_unavailable"


class UnsafeModel(TrajOpsError):
    """Loading the model would run pickled code, and nobody has opted in."""

    code = "unsafe_model"


class EnvironmentProblem(TrajOpsError):
    """The machine is not as it must be: a port in use, no disk, a folder that cannot be written."""

    code = "environment"
