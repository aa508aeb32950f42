"""The shared quota in Redis: one hash a client, booked by a script, so that two processes never read the same level."""

from collections.abc import Sequence
from typing import Any

from data.redis_client import connect
from trajops.errors import Unavailable
from trajops.rate_limits import Report, Settled

AT_ONCE = 500  # clients in one script: Redis does nothing else meanwhile
PREFIX = "trajops:quota:"

# `trajops.rate_limits.booked`, by the clock of Redis: those of the processes do not agree. A level that has been left alone until it
# is full again need not be kept, hence the expiry; a debt takes twice as long.
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answers = {}
for i, key in ipairs(KEYS) do
  local rate, burst, charge, wanted = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local kept = redis.call('HMGET', key, 'level', 'at')
  local level = tonumber(kept[1]) or burst
  local at = tonumber(kept[2]) or now
  level = math.min(burst, level + math.max(0, now - at) * rate) - charge
  level = math.max(-burst, math.min(burst, level))
  local reserved = math.min(wanted, math.max(0, math.floor(level)))
  level = level - reserved
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', key, string.format('%.0f', math.min(2 * burst / rate, 31536000) * 1000 + 1000))
  answers[i] = {string.format('%.6f', level), string.format('%.0f', reserved)}
end
return answers
"""


class RedisQuota:
    """Implements `trajops.rate_limits.SharedQuota`. For use by one thread at a time.

    Args:
        url: `redis://[:PASSWORD@]HOST:PORT/DATABASE`, or `rediss:` for TLS.

    Raises:
        EnvironmentProblem: if the URL cannot be used, or the client library is not installed.
    """

    def __init__(self, url: str) -> None:
        self._client, self._away = connect(url)
        self._script: Any = self._client.register_script(_SCRIPT)

    def settle(self, reports: Sequence[Report]) -> list[Settled]:
        """Book the reports; Unavailable if Redis cannot be reached. Without reports it is only asked whether it is there."""
        try:
            if not reports:
                self._client.ping()
            return [settled for first in range(0, len(reports), AT_ONCE) for settled in self._settle(reports[first : first + AT_ONCE])]
        except self._away as error:
            raise Unavailable(f"the shared quota in Redis cannot be reached ({type(error).__name__}: {error})") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _settle(self, reports: Sequence[Report]) -> list[Settled]:
        keys = [PREFIX + report.limit_id for report in reports]
        values = [value for report in reports for value in (report.limit.rate_per_s, report.limit.burst, report.charge, report.wanted)]
        return [Settled(float(level), int(reserved)) for level, reserved in self._script(keys=keys, args=values)]
