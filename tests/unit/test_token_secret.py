"""Hashes of passwords, and the secret that tokens are signed with."""

import stat
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import argon2
import pytest

from data.identity.passwords import Argon2Hasher
from data.identity.token_secret import token_secret
from trajops.errors import EnvironmentProblem
from trajops.settings import Settings


def test_argon2_hashes_and_verifies() -> None:
    cheap = Argon2Hasher(argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    hashed = cheap.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert hashed != cheap.hash("correct horse")
    assert len(hashed) <= 256
    assert [cheap.verify(hashed, password) for password in ("correct horse", "wrong horse")] == [True, False]
    assert not cheap.verify("not a hash", "correct horse")
    assert not cheap.is_outdated(hashed)
    assert Argon2Hasher().is_outdated(hashed)
    assert "m=65536,t=3" in Argon2Hasher().hash("correct horse")


def test_the_generated_secret_is_private_and_stays(tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path / "var")
    secret = token_secret(settings)
    assert len(secret) >= 32
    assert token_secret(settings) == secret
    assert [entry.name for entry in (tmp_path / "var").iterdir()] == ["token_secret"]
    assert stat.S_IMODE((tmp_path / "var" / "token_secret").stat().st_mode) == 0o600


def test_the_secret_of_the_settings_goes_first(tmp_path: Path) -> None:
    assert token_secret(Settings(var_dir=tmp_path, token_secret="x" * 40)) == "x" * 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"token_secret": "short"}, id="short"),
        pytest.param({"environment": "production"}, id="generated in production"),
    ],
)
def test_a_secret_that_is_not_good_enough(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentProblem, match="32"):
        token_secret(Settings(var_dir=tmp_path, **changes))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_TOKEN_SECRET"):
        token_secret(Settings(var_dir=tmp_path / "var"))


def _secret_of(folder: Path) -> str:
    return token_secret(Settings(var_dir=folder))


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert len(set(pool.map(_secret_of, [tmp_path / "var"] * 6))) == 1


def test_threads_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    for attempt in range(20):
        together, found = threading.Barrier(4), set()

        def read(folder: Path = tmp_path / str(attempt), together: threading.Barrier = together, found: set[str] = found) -> None:
            together.wait()
            found.add(_secret_of(folder))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1
