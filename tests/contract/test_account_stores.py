"""One body for users, API keys and remembered answers in memory, over SQLite and over PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.record_builders import AT, later, user
from trajops.errors import Conflict, NotFound
from trajops.records import ApiKey, Remembered


def key(number: int) -> ApiKey:
    return ApiKey(f"key{number}", "replay", f"{number:08x}", f"{number:064x}", "operator", later(number), later(3600))


def test_a_name_is_taken_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
        with pytest.raises(Conflict):
            uow.users.add(replace(user("ada"), user_id="another"))
        uow.users.add(user("abe"))
        assert [row.username for row in uow.users.all()] == ["abe", "ada"]


def test_a_user_can_be_changed(database: Any) -> None:
    changed = replace(user("ada"), password_hash="new", role="admin", disabled_at=later(1))
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
        uow.users.replace(changed)
        with pytest.raises(NotFound):
            uow.users.replace(user("nobody"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.by_name("ada") == changed


def test_keys_are_found_by_hash_and_revoked_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.add(key(2))
        assert uow.api_keys.by_hash(key(1).key_hash) == key(1)
        assert uow.api_keys.by_hash("0" * 64) is None
        assert uow.api_keys.all() == [key(2), key(1)]
        assert uow.api_keys.revoke("key1", later(60)).revoked_at == later(60)
        assert uow.api_keys.revoke("key1", later(90)).revoked_at == later(60)
        with pytest.raises(NotFound):
            uow.api_keys.revoke("key3", AT)


def test_what_a_key_is_restricted_to_comes_back(database: Any) -> None:
    restricted = replace(key(1), scopes=("predict", "read"), rate_per_s=2.5, burst=10**12, series_id="key0")
    with database.unit_of_work() as uow:
        uow.api_keys.add(restricted)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.api_keys.get("key1") == restricted
        with pytest.raises(NotFound):
            uow.api_keys.get("key2")


def test_the_last_use_of_a_key_is_kept(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.touch("key1", later(60))
        uow.api_keys.touch("key2", later(60))
        assert uow.api_keys.all() == [replace(key(1), last_used_at=later(60))]


def test_a_key_is_replaced_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        replaced = uow.api_keys.replace("key1", "key2", later(90))
        assert (replaced.successor_id, replaced.expires_at) == ("key2", later(90))
        with pytest.raises(Conflict):
            uow.api_keys.replace("key1", "key3", later(120))
        with pytest.raises(NotFound):
            uow.api_keys.replace("key9", "key3", later(120))
        assert uow.api_keys.get("key1") == replaced


def test_a_revoked_key_is_not_replaced(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.revoke("key1", later(60))
        with pytest.raises(Conflict):
            uow.api_keys.replace("key1", "key2", later(90))


def test_of_many_who_replace_the_same_key_one_succeeds(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
    together = threading.Barrier(4)

    def rotate(number: int) -> bool:
        together.wait()
        try:
            with database.unit_of_work() as uow:
                uow.api_keys.replace("key1", f"key{number}", later(90))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rotate, range(2, 6))) == [False] * 3 + [True]


def test_an_answer_is_remembered_once_for_each_actor(database: Any) -> None:
    answer = Remembered("f" * 64, {"epoch": 3})
    with database.unit_of_work() as uow:
        assert uow.idempotency.find("ada", "k") is None
        uow.idempotency.remember("ada", "k", answer, AT)
        with pytest.raises(Conflict):
            uow.idempotency.remember("ada", "k", Remembered("0" * 64, {}), AT)
        uow.idempotency.remember("ben", "k", Remembered("0" * 64, {}), AT)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.idempotency.find("ada", "k") == answer
