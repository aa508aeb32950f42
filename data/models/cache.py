"""The local cache of model artefacts: published in one rename, checked file by file before use.

Layout under the cache folder: `{name}/{version}/version.json` beside `{name}/{version}/model/…`. A folder without
`version.json` does not exist for a reader, so a process that is killed while it downloads leaves nothing half done.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput

VERSION_FILE = "version.json"
MODEL_FOLDER = "model"
DIGEST_TAG = "trajops.digest"
ABANDONED_S = 3600.0


@dataclass(frozen=True)
class VersionInfo:
    """What the registry says about one version.

    Attributes:
        name: registered model.
        version: number within it.
        source: where the artefact lies; another source under the same number is another model.
        run_id: training run; None for a model that was registered without one.
        tags: of the version.
        created_ns: UTC nanoseconds.
    """

    name: str
    version: int
    source: str
    run_id: str | None
    tags: Mapping[str, str]
    created_ns: int


@dataclass(frozen=True)
class CachedVersion:
    """One published version: its folder, what the registry said, and the SHA-256 of each file below `model/`."""

    folder: Path
    info: VersionInfo
    files: Mapping[str, str]

    @property
    def model_dir(self) -> Path:
        """The MLflow model folder, with its `MLmodel`."""
        return self.folder / MODEL_FOLDER

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The version published in `folder`; None when there is none, or its record cannot be read."""
        try:
            record = json.loads((folder / VERSION_FILE).read_text("utf-8"))
            return cls(folder, VersionInfo(**record["info"]), dict(record["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_intact(self) -> bool:
        """True when the files are exactly those that were published."""
        return self.model_dir.is_dir() and file_digests(self.model_dir) == dict(self.files)

    def with_info(self, info: VersionInfo) -> Self:
        """The same files under newer words of the registry, also on disk."""
        updated = replace(self, info=info)
        temporary = self.folder / f".{VERSION_FILE}-{uuid4().hex}"
        _write_durably(temporary, _record(updated.info, updated.files))
        temporary.replace(self.folder / VERSION_FILE)
        return updated


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, by its path relative to it, with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folder_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over names and digests of all files: the identity of an artefact."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def version_dir(cache_dir: Path, ref: ModelRef) -> Path:
    """Folder of one version below the cache.

    Raises:
        InvalidInput: if the model's name cannot be a folder.
    """
    folder = quote(ref.name, safe=" ")
    if not ref.name or folder.startswith("."):
        raise InvalidInput(f"a registered model cannot be called {ref.name!r}; give it a name that starts with a letter or a digit")
    return cache_dir / folder / str(ref.version)


def find(cache_dir: Path, ref: ModelRef) -> CachedVersion | None:
    """The version in the cache, or None; damaged files count as none."""
    cached = CachedVersion.read(version_dir(cache_dir, ref))
    return cached if cached is not None and cached.is_intact() else None


def publish(cache_dir: Path, info: VersionInfo, download: Callable[[Path], object]) -> CachedVersion:
    """Fill a temporary folder, make it durable, and give it its name in one rename.

    Args:
        cache_dir: root of the cache; made when missing.
        info: of the version.
        download: writes the model's files into the folder that it is given; what it raises leaves the cache as it was.
    """
    target = version_dir(cache_dir, ModelRef(info.name, info.version))
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(cache_dir)
    incoming = cache_dir / f".incoming-{uuid4().hex}"
    try:
        (incoming / MODEL_FOLDER).mkdir(parents=True)
        download(incoming / MODEL_FOLDER)
        cached = CachedVersion(incoming, info, file_digests(incoming / MODEL_FOLDER))
        for path in sorted(incoming.rglob("*"), reverse=True):
            _sync(path)
        _write_durably(incoming / VERSION_FILE, _record(info, cached.files))
        _sync(incoming)
        _rename(incoming, target, cache_dir)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    _sync(target.parent)
    return replace(cached, folder=target)


def _record(info: VersionInfo, files: Mapping[str, str]) -> bytes:
    record: dict[str, Any] = {"info": asdict(info), "files": dict(files)}
    return json.dumps(record, indent=1, sort_keys=True).encode()


def _rename(incoming: Path, target: Path, cache_dir: Path) -> None:
    """Move a new version into place; what lay there (stale, damaged, or another process's equal copy) goes away first."""
    for _ in range(8):
        if target.exists():
            outgoing = cache_dir / f".outgoing-{uuid4().hex}"
            try:
                target.rename(outgoing)
            except FileNotFoundError:
                continue
            shutil.rmtree(outgoing, ignore_errors=True)
        try:
            incoming.rename(target)
        except OSError:
            if not target.exists():
                raise
            continue
        return
    raise OSError(f"{target} is being replaced by other processes all the time; try again")


def _sweep(cache_dir: Path) -> None:
    """Remove what killed processes left behind."""
    for pattern in (".incoming-*", ".outgoing-*"):
        for folder in cache_dir.glob(pattern):
            try:
                is_abandoned = time.time() - folder.stat().st_mtime > ABANDONED_S
            except FileNotFoundError:
                continue
            if is_abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
