"""The model registry over MLflow's REST API, without importing MLflow: the API process starts fast and stays small."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from data.models.cache import DIGEST_TAG, VersionInfo, file_digests, find, folder_digest, publish
from data.models.rest import MlflowRest
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, InvalidInput, NotFound, RegistryUnavailable

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PAGE = 200
LOGGED_MODEL = re.compile(r"^models:/(m-[0-9a-f]+)$")


class MlflowRegistry:
    """Registered models of one MLflow server: versions, aliases and artefacts. Safe to use from several threads.

    Args:
        url: of the tracking server; credentials may stand in it (`http://user:password@host`).
        timeout_s: longest wait for one answer; a connection is given one second.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._rest = MlflowRest(url, timeout_s=timeout_s)

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """All versions of a registered model, newest first: version, run_id, aliases, tags, created_ns, source.

        A name that was never registered has none.

        Raises:
            RegistryUnavailable: if the registry does not answer.
        """
        aliases = self.aliases(name)
        return [
            {
                "version": info.version,
                "run_id": info.run_id,
                "aliases": sorted(alias for alias, version in aliases.items() if version == info.version),
                "tags": dict(info.tags),
                "created_ns": info.created_ns,
                "source": info.source,
            }
            for info in sorted(self._search(name), key=lambda info: info.version, reverse=True)
        ]

    def describe(self, ref: ModelRef) -> VersionInfo:
        """What the registry says about one version.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer.
        """
        answer = self._rest.json("GET", f"{API}/model-versions/get", params={"name": ref.name, "version": str(ref.version)})
        return _info(answer["model_version"])

    def aliases(self, name: str) -> Mapping[str, int]:
        """Version behind each alias; none for a name that was never registered.

        Raises:
            RegistryUnavailable: if the registry does not answer.
        """
        try:
            answer = self._rest.json("GET", f"{API}/registered-models/get", params={"name": name})
        except NotFound:
            return {}
        return {row["alias"]: int(row["version"]) for row in answer["registered_model"].get("aliases", [])}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer.
        """
        self._rest.json("POST", f"{API}/registered-models/alias", json={"name": name, "alias": alias, "version": str(version)})

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error when it does not exist."""
        try:
            self._rest.json("DELETE", f"{API}/registered-models/alias", json={"name": name, "alias": alias})
        except NotFound:
            return

    def delete_version(self, ref: ModelRef) -> None:
        """Remove one version; no error when there is none.

        Raises:
            Conflict: if an alias points to it, which would be gone with it, and nobody told.
            RegistryUnavailable: if the registry does not answer.
        """
        held = sorted(alias for alias, version in self.aliases(ref.name).items() if version == ref.version)
        if held:
            raise Conflict(f"{ref} is not deleted: the alias {', '.join(held)} points to it; take that away first")
        try:
            self._rest.json("DELETE", f"{API}/model-versions/delete", json={"name": ref.name, "version": str(ref.version)})
        except NotFound:
            return

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        """Write tags onto a version.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer.
        """
        for key, value in tags.items():
            row = {"name": ref.name, "version": str(ref.version), "key": key, "value": value}
            self._rest.json("POST", f"{API}/model-versions/set-tag", json=row)

    def fetch(self, ref: ModelRef, into: Path) -> Path:
        """Bring one version into the cache `into` and return its folder (see `data.models.cache`).

        Nothing is downloaded when the cache already holds the same source intact; tags are refreshed in any case.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer, or what it hands out is damaged.
        """
        info = self.describe(ref)
        cached = find(into, ref)
        if cached is not None and cached.info.source == info.source and cached.info.created_ns == info.created_ns:
            return (cached if cached.info == info else cached.with_info(info)).folder
        source = self._artifact(ref, info)

        def download(folder: Path) -> None:
            _copy(source, "", folder)
            _check_digest(ref, info, folder)

        return publish(into, info, download).folder

    def close(self) -> None:
        """Give the connections back."""
        self._rest.close()

    def _search(self, name: str) -> list[VersionInfo]:
        if "'" in name:
            raise InvalidInput(f"a registered model's name cannot hold a quotation mark: {name}")
        rows: list[dict[str, Any]] = []
        token = ""
        while True:
            query = {"filter": f"name='{name}'", "max_results": str(PAGE), "page_token": token}
            page = self._rest.json("GET", f"{API}/model-versions/search", params=query)
            rows += page.get("model_versions", [])
            token = page.get("next_page_token", "")
            if not token:
                return [_info(row) for row in rows]

    def _artifact(self, ref: ModelRef, info: VersionInfo) -> "_Artifact":
        """Where the files of a version are; the server alone needs to reach the store behind it."""
        where = {"name": ref.name, "version": str(ref.version)}
        uri = self._rest.json("GET", f"{API}/model-versions/get-download-uri", params=where)["artifact_uri"]
        if uri.startswith("mlflow-artifacts:"):
            return _Proxied(self._rest, urlsplit(uri).path.strip("/"))
        if logged := LOGGED_MODEL.match(info.source):
            return _Logged(self._rest, logged[1], where)
        raise InvalidInput(f"{ref} lies at {uri}, which the server does not hand out; log it to the server and register it again")


class _Entry(NamedTuple):
    """One file or folder of an artefact."""

    name: str
    is_dir: bool


class _Artifact(Protocol):
    """A folder behind the server."""

    def entries(self, path: str) -> list[_Entry]:
        """What lies in the folder `path`; the empty path is the root."""
        ...

    def save(self, path: str, file: Path) -> None:
        """Copy one file."""
        ...


class _Proxied:
    """Files that the server hands out itself (`--serve-artifacts`, the default)."""

    def __init__(self, rest: MlflowRest, root: str) -> None:
        self._rest, self._root = rest, root

    def entries(self, path: str) -> list[_Entry]:
        answer = self._rest.json("GET", ARTIFACTS, params={"path": f"{self._root}/{path}".rstrip("/")})
        return [_Entry(file["path"], bool(file.get("is_dir"))) for file in answer.get("files", [])]

    def save(self, path: str, file: Path) -> None:
        self._rest.save(f"{ARTIFACTS}/{quote(f'{self._root}/{path}')}", file)


class _Logged:
    """A logged model in a store that only the server can reach."""

    def __init__(self, rest: MlflowRest, model_id: str, where: Mapping[str, str]) -> None:
        self._rest, self._model_id, self._where = rest, model_id, where

    def entries(self, path: str) -> list[_Entry]:
        params = {"artifact_directory_path": path} if path else {}
        answer = self._rest.json("GET", f"{API}/logged-models/{self._model_id}/artifacts/directories", params=params)
        return [_Entry(file["path"].rsplit("/", 1)[-1], bool(file.get("is_dir"))) for file in answer.get("files", [])]

    def save(self, path: str, file: Path) -> None:
        self._rest.save("/model-versions/get-artifact", file, {**self._where, "path": path})


def _copy(artifact: _Artifact, path: str, folder: Path) -> None:
    """Copy one folder of an artefact, then those below it; names that would leave the folder are refused."""
    for name, is_dir in artifact.entries(path):
        if name in {"", ".", ".."} or "/" in name or "\\" in name:
            raise InvalidInput(f"the artefact holds a file called {name!r}, which cannot be stored; register it again without it")
        below = f"{path}/{name}" if path else name
        if is_dir:
            (folder / name).mkdir()
            _copy(artifact, below, folder / name)
        else:
            artifact.save(below, folder / name)


def _check_digest(ref: ModelRef, info: VersionInfo, folder: Path) -> None:
    """Compare what was downloaded with what was registered; versions of foreign origin carry no digest until they are adopted."""
    wanted, got = info.tags.get(DIGEST_TAG), folder_digest(file_digests(folder))
    if wanted is not None and wanted != got:
        raise RegistryUnavailable(
            f"the artefact of {ref} is not what was registered (SHA-256 {got[:12]}…, registered {wanted[:12]}…); "
            f"repair {info.source}, or register the model again"
        )


def _info(row: Mapping[str, Any]) -> VersionInfo:
    return VersionInfo(
        name=row["name"],
        version=int(row["version"]),
        source=row.get("source", ""),
        run_id=row.get("run_id") or None,
        tags={tag["key"]: tag.get("value", "") for tag in row.get("tags", [])},
        created_ns=int(row["creation_timestamp"]) * 1_000_000,
    )
