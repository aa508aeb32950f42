"""Shared tracks in Redis: one packed string an agent, written by a script, so that two processes never overwrite each other.

A string is a head and the points, all little-endian float64: newest time, time of the history that the log ends with, when it was told
of last, restarts; then time, x and y of each point. Against a list or a sorted set an agent costs a tenth of the client's time, because
few and large values are packed and parsed (docs/decisions/0013-shared-tracks.md).
"""

from collections.abc import Callable, Sequence
from struct import iter_unpack, pack, unpack_from
from typing import Any, TypeVar

from data.redis_client import connect
from trajops.errors import Unavailable
from trajops.shared_tracks import AgentKey, News, Rules, Run, SharedTrack, in_runs

AT_ONCE = 100  # runs in one script: Redis does nothing else meanwhile
# With another layout of the values comes another number: processes of both releases may run at once.
PREFIX = b"trajops:tracks:1:"
AGENT, SCENE, ALL = PREFIX + b"agent:", PREFIX + b"scene:", PREFIX + b"agents"
HEAD = 32

# `trajops.shared_tracks.followed`, over packed strings. Beside it two indices by time, of all agents and of each scene's; an agent's
# place in them is renewed once a second at most, because that costs more than the positions.
_SCRIPT = """
local ttl, keep, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) * 24
local agent, scene, all = ARGV[4], ARGV[5], ARGV[6]
local life = string.format('%.0f', math.max(1, ttl * 1000))
local renew, latest, touched = math.min(1, ttl / 4), 0, {}
for i, key in ipairs(KEYS) do
  local news = ARGV[i + 6]
  local seen, is_history = struct.unpack('<dd', news)
  local told = string.sub(news, 17)
  local newest, ending, heard, restarts, body = -math.huge, -math.huge, -math.huge, 0, ''
  local kept = redis.call('GET', key)
  if kept then
    newest, ending, heard, restarts = struct.unpack('<dddd', kept)
    body = string.sub(kept, 33)
  end
  if is_history == 1 then
    local at = struct.unpack('<d', told, #told - 23)
    if at < newest - ttl then newest, ending, restarts, body = -math.huge, -math.huge, restarts + 1, '' end
    if at >= ending then
      if ending > -math.huge then body = string.sub(body, 1, -1 - #told) end
      body, ending = body .. told, at
    end
    newest = math.max(newest, at)
  else
    local from = 1
    for first = 1, #told, 24 do
      local at = struct.unpack('<d', told, first)
      if at < newest - ttl then newest, restarts, body, from = -math.huge, restarts + 1, '', first end
      newest = math.max(newest, at)
    end
    body, ending = body .. string.sub(told, from), -math.huge
  end
  local first = math.max(1, #body - most + 1)
  while first < #body and struct.unpack('<d', body, first) < newest - keep do first = first + 24 end
  local last_seen = math.max(seen, heard)
  redis.call('SET', key, struct.pack('<dddd', newest, ending, last_seen, restarts) .. string.sub(body, first), 'PX', life)
  if last_seen - heard >= renew then
    local member = string.sub(key, #agent + 1)
    local size, rest = string.match(member, '^(%d+):(.*)$')
    local mine = scene .. string.sub(rest, 1, tonumber(size))
    redis.call('ZADD', all, last_seen, member)
    redis.call('ZADD', mine, last_seen, member)
    touched[mine], latest = true, math.max(latest, last_seen)
  end
end
if latest > 0 then
  touched[all] = true
  for index in pairs(touched) do
    redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.6f', latest - ttl))
    redis.call('PEXPIRE', index, life)
  end
end
return 1
"""

Result = TypeVar("Result")


class RedisTracks:
    """Implements `trajops.shared_tracks.SharedTracks` with one Redis (no cluster).

    Args:
        url: `redis://[:PASSWORD@]HOST:PORT/DATABASE`, or `rediss:` for TLS.
        rules: what is kept; the same in all processes.

    Raises:
        EnvironmentProblem: if the URL cannot be used, or the client library is not installed.
    """

    def __init__(self, url: str, rules: Rules) -> None:
        self._client, self._away = connect(url)
        self._rules = rules
        self._arguments = [rules.ttl_s, rules.keep_s, rules.most, AGENT, SCENE, ALL]

    def exchange(self, news: Sequence[News], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        """Book the news, then answer what is known of the agents asked for, in one round trip; Unavailable if Redis is away."""
        return self._asking(lambda: self._exchange(in_runs(news, self._rules), asked))

    def agents(self, scene_id: str | None, limit: int) -> list[tuple[AgentKey, SharedTrack]]:
        """Agents told of lately, the one told of last first; Unavailable if Redis is away."""
        return self._asking(lambda: self._agents(ALL if scene_id is None else SCENE + _encoded(scene_id), limit))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _asking(self, ask: Callable[[], Result]) -> Result:
        try:
            return ask()
        except self._away as error:
            raise Unavailable(f"the shared tracks in Redis cannot be reached ({type(error).__name__}: {error})") from error

    def _exchange(self, runs: Sequence[Run], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        # Typed as Any: the client's annotations mix answers with awaitables of them.
        pipeline: Any = self._client.pipeline(transaction=False)
        for first in range(0, len(runs), AT_ONCE):
            few = runs[first : first + AT_ONCE]
            keys = [AGENT + _member(run.key) for run in few]
            pipeline.eval(_SCRIPT, len(few), *keys, *self._arguments, *map(_packed, few))
        if asked:
            pipeline.mget([AGENT + _member(key) for key in asked])
        if not runs and not asked:
            pipeline.ping()
        answers = pipeline.execute()
        return [None if value is None else _unpacked(value) for value in answers[-1]] if asked else []

    def _agents(self, index: bytes, limit: int) -> list[tuple[AgentKey, SharedTrack]]:
        client: Any = self._client
        members = client.zrange(index, 0, limit - 1, desc=True)
        values = client.mget([AGENT + member for member in members]) if members else []
        found = [(_key(member), _unpacked(value)) for member, value in zip(members, values, strict=True) if value is not None]
        return sorted(found, key=lambda one: one[1].seen_s, reverse=True)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _member(key: AgentKey) -> bytes:
    """Scene and agent as one name; the scene's length tells them apart, whatever characters they have."""
    scene_id, agent_id = _encoded(key[0]), _encoded(key[1])
    return b"%d:%s%s" % (len(scene_id), scene_id, agent_id)


def _key(member: bytes) -> AgentKey:
    size, _, names = member.partition(b":")
    return names[: int(size)].decode("utf-8", "surrogatepass"), names[int(size) :].decode("utf-8", "surrogatepass")


def _packed(run: Run) -> bytes:
    return pack(f"<{len(run.numbers) + 2}d", run.seen_s, run.is_history, *run.numbers)


def _unpacked(value: bytes) -> SharedTrack:
    newest_s, history_s, seen_s, restarts = unpack_from("<4d", value)
    return SharedTrack(seen_s, newest_s, list(iter_unpack("<3d", value[HEAD:])), history_s, int(restarts))
