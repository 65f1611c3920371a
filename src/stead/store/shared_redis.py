"""Limits in Redis: exact among all processes and machines that use it.

Knows nothing about requests. One Lua script does a step for all limits concerned, by the clock of the Redis
server; it is the algorithm of `core/shared` once more. All keys bear the hash tag {stead}, so a cluster keeps them
together. Restarting a Redis that does not persist forgets what was used.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stead.core.errors import ConfigError, ResourceError, SteadError
from stead.core.lazy import lazy
from stead.core.shared import SLICES, Counter, Hold, Limit, Reservation, refusal
from stead.store.queued import Job, Look, QueuedShared, Reserve, answer

if TYPE_CHECKING:
    import redis
else:
    redis = lazy("redis", extra="redis")

_ROUNDING_S = 0.001
_TIMEOUT_S = 5.0

# KEYS: per limit its hash of slots, then its holds by the time they end. ARGV[1]: now, or "" for the server's time.
# ARGV[2]: the job as JSON. Returns JSON, whole numbers as texts: cjson writes 14 digits only. Times beyond 2^53 do not occur; amounts are below 2^53 (nine
# thousand dollars in picodollars), above that the sums of doubles are no longer exact: see `_limit`.
_SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) + tonumber(t[2]) / 1000000
end
local job = cjson.decode(ARGV[2])
local function month(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
                          - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local m = mp < 10 and mp + 3 or mp - 9
  local y = yoe + era * 400 + (m <= 2 and 1 or 0)
  return y * 12 + m - 1
end
local function slots(limit)
  local span = limit.window
  if type(span) == 'number' then
    local slot = math.floor(now * limit.slices / span)
    return slot, slot - limit.slices
  elseif span == 'day' then
    local slot = math.floor(now / 86400)
    return slot, slot
  elseif span == 'month' then
    local slot = month(math.floor(now / 86400))
    return slot, slot
  end
  return 0, 0
end
local function add(key, slot, amount)
  local field = string.format('%d', slot)
  if redis.call('HEXISTS', key, field) == 1 then
    redis.call('HINCRBY', key, field, string.format('%d', amount))
  end
end
local at = string.format('%.6f', now)
local function expire(counter, holds)
  for _, hold in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', at)) do
    local slot, amount = string.match(hold, '|(-?%d+)|(%d+)$')
    add(counter, tonumber(slot), -tonumber(amount))
    redis.call('ZREM', holds, hold)
  end
end
local function total(counter, first)
  local sum, found = 0, {}
  local all = redis.call('HGETALL', counter)
  for i = 1, #all, 2 do
    local slot, used = tonumber(all[i]), tonumber(all[i + 1])
    if slot < first then
      redis.call('HDEL', counter, all[i])
    else
      sum = sum + used
      found[#found + 1] = {slot, used}
    end
  end
  return sum, found
end
local function whole(x) return string.format('%d', x) end
local answer = {now = at, slots = {}, found = {}}
for i, limit in ipairs(job.limits) do
  local counter, holds = KEYS[2 * i - 1], KEYS[2 * i]
  expire(counter, holds)
  local slot, first = slots(limit)
  local sum, found = total(counter, first)
  answer.slots[i] = whole(slot)
  answer.used = whole(sum)
  if job.kind == 'reserve' and sum + limit.ask > limit.amount then
    answer.refused = i
    for j, pair in ipairs(found) do answer.found[j] = {whole(pair[1]), whole(pair[2])} end
    break
  end
end
if job.kind == 'reserve' and not answer.refused then
  for i, limit in ipairs(job.limits) do
    local counter, holds = KEYS[2 * i - 1], KEYS[2 * i]
    redis.call('HINCRBY', counter, answer.slots[i], whole(limit.ask))
    redis.call('ZADD', holds, string.format('%.6f', now + job.hold_s),
               job.id .. '|' .. answer.slots[i] .. '|' .. whole(limit.ask))
    if limit.keep_s > 0 then
      redis.call('EXPIRE', counter, limit.keep_s)
      redis.call('EXPIRE', holds, limit.keep_s)
    end
  end
elseif job.kind == 'settle' then
  for i, limit in ipairs(job.limits) do
    local counter, holds = KEYS[2 * i - 1], KEYS[2 * i]
    local hold = job.id .. '|' .. whole(limit.slot) .. '|' .. whole(limit.ask)
    local held = redis.call('ZREM', holds, hold)
    add(counter, limit.slot, limit.stays - (held == 1 and limit.ask or 0))
  end
end
return cjson.encode(answer)
"""
_EXACT = 2**53
_MONTH_S = 32 * 86_400


class SharedRedis(QueuedShared):
    """The counters of a Redis server at `url` (redis://…, rediss://…); `clock` replaces the server's in tests.

    Raises: MissingDependency without the library; ConfigError("bad-redis-url").
    """

    def __init__(
        self,
        url: str,
        *,
        hold_s: float = 900.0,
        prefix: str = "stead",
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigError("bad-redis-url", "write redis://host:6379/0 or rediss://…")
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._script: Any = self._client.register_script(_SCRIPT)  # Any: redis-py's own class
        self._prefix = f"{{{prefix}}}"
        self._clock = clock
        super().__init__("stead-redis", hold_s)

    async def close(self) -> None:
        """Settle what is left, then hang up."""
        await super().close()
        self._client.close()

    def _do(self, jobs: list[Job]) -> None:
        """Do the jobs one by one; after a fault only those that are not done are left in the list."""
        done = 0
        try:
            for job in jobs:
                self._one(job)
                done += 1
        except redis.exceptions.RedisError as error:
            for job in jobs[:done]:
                answer(job)
            del jobs[:done]
            raise ResourceError(
                "limits-unavailable",
                f"Redis failed: {type(error).__name__}",
                status=503,
                retry_after_s=1,
            ) from error

    def _one(self, job: Job) -> None:
        if isinstance(job, Reserve):
            job.result = self._reserve(job)
        elif isinstance(job, Look):
            job.result = int(self._run("look", "", [_limit(job.limit)], [job.limit])["used"])
        else:
            holds = job.reservation.holds
            rows = [
                _limit(h.limit) | {"slot": h.slot, "ask": h.amount, "stays": stays}
                for h, stays in zip(holds, job.stays, strict=True)
            ]
            self._run("settle", job.reservation.id, rows, [h.limit for h in holds])

    def _reserve(self, job: Reserve) -> Reservation | SteadError:
        rows = [_limit(a.limit) | {"ask": a.amount} for a in job.asks]
        limits = [a.limit for a in job.asks]
        found = self._run("reserve", job.id, rows, limits)
        now = float(found["now"])
        if "refused" not in found:
            holds = tuple(
                Hold(a.limit, int(slot), a.amount)
                for a, slot in zip(job.asks, found["slots"], strict=True)
            )
            return Reservation(job.id, holds, now + self._hold_s)
        ask = job.asks[found["refused"] - 1]
        slots = {int(slot): int(used) for slot, used in found["found"]}
        return _refused(ask.limit, slots, ask.amount, now)

    def _run(
        self, kind: str, id_: str, rows: list[dict[str, Any]], limits: list[Limit]
    ) -> dict[str, Any]:  # Any: JSON values
        keys = [
            f"{self._prefix}:{part}:{limit.id}" for limit in limits for part in ("used", "held")
        ]
        job = {"kind": kind, "id": id_, "limits": rows, "hold_s": self._hold_s}
        now = "" if self._clock is None else repr(self._clock())
        found: dict[str, Any] = json.loads(self._script(keys=keys, args=[now, json.dumps(job)]))
        return found


def _refused(limit: Limit, slots: dict[int, int], amount: int, now: float) -> SteadError:
    """Let the counter of `core/shared` say how long to wait."""
    try:
        Counter(slots).take(limit, amount, now)
    except SteadError as error:
        return error
    return refusal(limit, sum(slots.values()), amount, _ROUNDING_S)


def _limit(limit: Limit) -> dict[str, Any]:
    """Return a limit as the script reads it."""
    window: float | str = "none"
    keep_s = 0
    if limit.window_s is not None:
        window, keep_s = limit.window_s, int(2 * limit.window_s) + 3600
    elif limit.calendar is not None:
        window, keep_s = limit.calendar, 2 * _MONTH_S
    if limit.amount >= _EXACT:
        raise ConfigError(
            "bad-limit", f"Redis counts to {_EXACT}; {limit.name!r} is {limit.amount}"
        )
    return {"window": window, "amount": limit.amount, "slices": SLICES, "keep_s": keep_s}
