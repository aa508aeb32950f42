"""A Redis client that gives up soon: whoever asks has an answer of its own."""

from typing import TYPE_CHECKING

from trajops.errors import EnvironmentProblem

if TYPE_CHECKING:
    import redis

TIMEOUT_S = 0.5


def connect(url: str) -> "tuple[redis.Redis, tuple[type[Exception], ...]]":
    """A client of `redis://[:PASSWORD@]HOST:PORT/DATABASE`, or `rediss:` for TLS, and what it raises where Redis cannot be used.

    Nothing is sent yet, and nothing is tried twice: what is said to Redis is said again in a moment anyway.

    Raises:
        EnvironmentProblem: if the URL cannot be used, or the client library is not installed.
    """
    try:
        import redis  # noqa: PLC0415 - only who shares something needs it
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0))
    except ImportError as error:
        raise EnvironmentProblem("TRAJOPS_REDIS_URL is set, but `redis` is not installed; install the extra `api`") from error
    except ValueError as error:
        raise EnvironmentProblem(f"TRAJOPS_REDIS_URL cannot be used ({error}); write redis://HOST:PORT/DATABASE") from error
    return client, (redis.RedisError, OSError)
