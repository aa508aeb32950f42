"""What serving stands on, in memory: a sink, quotas, tracks, a registry, and a clock that is set."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from data.models.cache import VersionInfo, publish
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound, RegistryUnavailable, Unavailable
from trajops.rate_limits import Report, Settled, booked
from trajops.shared_tracks import AgentKey, News, Rules, SharedTrack, followed, in_runs
from trajops.telemetry import Event


class MemorySink:
    """Implements `trajops.ports.TelemetrySink`: events by table, in the order of writing."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}

    def write(self, table: str, events: Sequence[Event]) -> None:
        """Keep the events."""
        self.events.setdefault(table, []).extend(events)


class MemoryQuota:
    """Implements `trajops.rate_limits.SharedQuota`; `is_away` makes it an outage.

    Args:
        clock_s: seconds of a clock that only goes forward.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self.is_away = False
        self._clock_s = clock_s
        self._levels: dict[str, tuple[float, float]] = {}

    def settle(self, reports: Sequence[Report]) -> list[Settled]:
        """Book the reports."""
        if self.is_away:
            raise Unavailable("the shared quota is away")
        return [self._book(report) for report in reports]

    def _book(self, report: Report) -> Settled:
        now_s = self._clock_s()
        level, at_s = self._levels.get(report.limit_id, (float(report.limit.burst), now_s))
        settled = booked(level, now_s - at_s, report)
        self._levels[report.limit_id] = (settled.level, now_s)
        return settled


class MemoryTracks:
    """Implements `trajops.shared_tracks.SharedTracks`; `is_away` makes it an outage.

    Args:
        rules: what is kept.
        clock_s: seconds of a clock that only goes forward.
    """

    def __init__(self, rules: Rules, clock_s: Callable[[], float]) -> None:
        self.is_away = False
        self._rules, self._clock_s = rules, clock_s
        self._tracks: dict[AgentKey, tuple[float, SharedTrack]] = {}
        self._lock = Lock()

    def exchange(self, news: Sequence[News], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        """Book the news, then answer what is known of the agents asked for."""
        with self._lock:
            now_s = self._reached_at_s()
            for run in in_runs(news, self._rules):
                self._tracks[run.key] = (now_s, followed(self._known(run.key, now_s), run, self._rules))
            return [self._known(key, now_s) for key in asked]

    def agents(self, scene_id: str | None, limit: int) -> list[tuple[AgentKey, SharedTrack]]:
        """Agents told of lately, the one told of last first."""
        with self._lock:
            now_s = self._reached_at_s()
            known = [(key, track) for key in self._tracks if scene_id in {None, key[0]} and (track := self._known(key, now_s))]
        return sorted(known, key=lambda one: one[1].seen_s, reverse=True)[:limit]

    def close(self) -> None:
        """Nothing is open."""

    def _reached_at_s(self) -> float:
        if self.is_away:
            raise Unavailable("the shared tracks are away")
        return self._clock_s()

    def _known(self, key: AgentKey, now_s: float) -> SharedTrack | None:
        at_s, track = self._tracks.get(key, (0.0, None))
        return track if now_s - at_s < self._rules.ttl_s else None


class MemoryRegistry:
    """Implements `trajops.ports.ModelRegistry` over folders that were given to `add`; `is_away` makes it an outage."""

    def __init__(self) -> None:
        self.is_away = False
        self._versions: dict[ModelRef, tuple[Path, dict[str, Any]]] = {}
        self._aliases: dict[tuple[str, str], int] = {}

    def add(
        self, ref: ModelRef, folder: Path, *, run_id: str | None = None, created_ns: int = 0, tags: Mapping[str, str] | None = None
    ) -> None:
        """Register a version whose MLflow model lies in a folder."""
        row = {"version": ref.version, "run_id": run_id, "tags": dict(tags or {}), "created_ns": created_ns, "source": str(folder)}
        self._versions[ref] = (folder, row)

    def register(self, name: str, source: str, *, run_id: str, tags: Mapping[str, str]) -> int:
        """Register a logged model as the next version of `name`, and return its number."""
        number = 1 + max((ref.version for ref in self._versions if ref.name == name), default=0)
        self.add(ModelRef(name, number), Path(source), run_id=run_id, tags=tags)
        return number

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """All versions of a registered model, newest first."""
        self._answer()
        return [
            {**row, "aliases": sorted(alias for alias, version in self.aliases(name).items() if version == ref.version)}
            for ref, (_, row) in sorted(self._versions.items(), reverse=True)
            if ref.name == name
        ]

    def fetch(self, ref: ModelRef, into: Path) -> Path:
        """Copy one version into the cache `into` and return its folder. NotFound if there is no such version."""
        self._answer()
        if ref not in self._versions:
            raise NotFound(f"the registry has no {ref}")
        folder, row = self._versions[ref]
        info = VersionInfo(ref.name, ref.version, row["source"], row["run_id"], row["tags"], row["created_ns"])
        return publish(into, info, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True)).folder

    def aliases(self, name: str) -> Mapping[str, int]:
        """Version behind each alias."""
        self._answer()
        return {alias: version for (model, alias), version in self._aliases.items() if model == name}

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        """Write tags onto a version; NotFound if there is no such version."""
        self._answer()
        if ref not in self._versions:
            raise NotFound(f"the registry has no {ref}")
        folder, row = self._versions[ref]
        self._versions[ref] = (folder, {**row, "tags": {**row["tags"], **tags}})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; NotFound if there is no such version."""
        self._answer()
        if ModelRef(name, version) not in self._versions:
            raise NotFound(f"the registry has no {ModelRef(name, version)}")
        self._aliases[name, alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error when it does not exist."""
        self._answer()
        self._aliases.pop((name, alias), None)

    def delete_version(self, ref: ModelRef) -> None:
        """Remove one version; Conflict if an alias points to it, no error when there is none."""
        self._answer()
        if ref.version in self.aliases(ref.name).values():
            raise Conflict(f"an alias points to {ref}")
        self._versions.pop(ref, None)

    def _answer(self) -> None:
        if self.is_away:
            raise RegistryUnavailable("the registry is away")


class SetClock:
    """Implements `trajops.ports.Clock`: time stands still until somebody moves it."""

    def __init__(self, now_ns: int = 1_767_225_600_000_000_000) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """UTC nanoseconds since the epoch; 2026-01-01 unless set otherwise."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._now_ns += round(seconds * 1e9)
