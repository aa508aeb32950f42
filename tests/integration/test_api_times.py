"""Times that clients give: of any route, in a query or in a body, those that nobody could reckon with are refused with a sentence."""

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running_api import REASON, Api, problem, running_api

# A time that cannot be said in UTC, or that cannot be reckoned with; what is said about it.
BAD = {
    "9999-12-31T23:59:59-23:59": ("after 2999", "outside of the years 1 to 9999"),
    "9999-12-31T23:59:59-14:00": ("after 2999", "outside of the years 1 to 9999"),
    "0001-01-01T00:00:00+14:00": ("before 1970", "outside of the years 1 to 9999"),
    "9999-12-31T23:59:59Z": ("after 2999", None),
    "3000-01-01T00:30:00+00:15": ("after 2999", None),
    "0001-01-01T00:00:00Z": ("before 1970", None),
    "1969-12-31T23:59:59Z": ("before 1970", None),
    "2030-01-01T00:00:00": ("time zone", "time zone"),
}
POSTED = {
    "status": "firing",
    "labels": {"alertname": "Late"},
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "a1",
}
# Bodies that would be taken, by the path of their route.
BODIES: dict[str, Any] = {
    "/v1/drift/reference": {
        "reference": {
            "kind": "range",
            "since": "2026-01-01T00:00:00Z",
            "until": "2026-01-02T00:00:00Z",
            "without": [{"since": "2026-01-01T03:00:00Z", "until": "2026-01-01T04:00:00Z"}],
        },
        "reason": REASON,
    },
    "/v1/drift/mutes/{column}": {"until": "2100-01-01T00:00:00Z", "reason": REASON},
    "/v1/keys": {"name": "robot", "expires_at": "2100-01-01T00:00:00Z", "reason": REASON},
    "/v1/tasks": {
        "kind": "evaluate",
        "traffic": {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        "reason": REASON,
    },
    "/v1/keys/{key_id}/rotate": {"expires_at": "2100-01-01T00:00:00Z", "reason": REASON},
    "/v1/alerts/silences": {
        "matchers": [{"label": "job", "value": "prune"}],
        "starts_at": "2099-01-01T00:00:00Z",
        "ends_at": "2100-01-01T00:00:00Z",
        "reason": REASON,
    },
    "/v1/alerts/alertmanager": {"version": "4", "status": "firing", "alerts": [POSTED]},
}
# Another product's alerts: what can be said in UTC is taken as it says it.
FOREIGN = "/v1/alerts/alertmanager"

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var")) as api:
        yield api


def times(schema: dict[str, Any], parts: dict[str, Any], at: Place = (), above: frozenset[str] = frozenset()) -> Iterator[Place]:
    """Places of the times in a part of an OpenAPI document."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in above:
            yield from times(parts[name], parts, at, above | {name})
    if schema.get("format") == "date-time":
        yield at
    for name, field in schema.get("properties", {}).items():
        yield from times(field, parts, (*at, name), above)
    if isinstance(schema.get("items"), dict):
        yield from times(schema["items"], parts, (*at, 0), above)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from times(branch, parts, at, above)


def taken(document: dict[str, Any]) -> Iterator[tuple[str, str, str, Place]]:
    """Method, path, `query` or `body`, and place of every time that a route takes."""
    parts = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                for at in times(parameter["schema"], parts, (parameter["name"],)):
                    yield method, path, parameter["in"], at
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for at in times(content.get("schema", {}), parts):
                    yield method, path, "body", at


def answer_to(api: Api, method: str, path: str, where: str, at: Place, time: str) -> Any:
    address = path.format_map(defaultdict(lambda: "none", column="speed_mps"))
    if where == "query":
        return api.client.request(method.upper(), address, params={str(at[0]): time}, headers=api.headers["admin"])
    body = copy.deepcopy(BODIES[path])
    part = body
    for step in at[:-1]:
        part = part[step]
    assert at[-1] in part, "BODIES lacks a time of this route"
    part[at[-1]] = time
    return api.client.request(method.upper(), address, json=body, headers=api.headers["admin"])


@pytest.mark.parametrize("time", BAD)
def test_a_time_that_nobody_could_reckon_with_is_refused(api: Api, time: str) -> None:
    found = list(taken(api.get("/openapi.json").json()))
    assert {path for _, path, where, _ in found if where == "body"} == set(BODIES)
    assert {"/v1/performance", "/v1/alerts"} <= {path for _, path, where, _ in found if where == "query"}
    for method, path, where, at in found:
        answer = answer_to(api, method, path, where, at, time)
        said = BAD[time][path == FOREIGN]
        if said is None:
            assert answer.status_code == 200, answer.text
        else:
            [one] = problem(answer, 422, "invalid_input").errors
            assert said in one.message
            assert one.field.startswith(f"{where}.{at[0]}")


def test_times_at_the_ends_of_the_calendar_are_taken(api: Api) -> None:
    for since in ("1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "1970-01-01T14:00:00+14:00"):
        assert api.get("/v1/alerts", since=since).status_code == 200
    silence = BODIES["/v1/alerts/silences"] | {"ends_at": "2999-12-31T23:59:59+14:00"}
    made = api.post("/v1/alerts/silences", silence, "operator")
    assert made.json()["ends_at"] == "2999-12-31T09:59:59Z"
