"""The fast decoders are never more lenient than the documented models, and read the same values."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.fast_bodies import FastObservations, FastPredict, decoder
from api.fast_route import REFUSALS
from tests.builders import a_history
from trajops.contracts.predictions import ObservationsIn, PredictIn

HISTORY = a_history()[0].tolist()
PREDICT = {"agent_id": "a", "scene_id": "s", "history": HISTORY, "observed_at_s": 1.0, "model_version": 1, "source": "live"}
OBSERVATION = {"agent_id": "a", "scene_id": "s", "observed_at_s": 1.0, "position": [1.0, 2]}

# Literals that naive servers take for numbers, names or versions, as they stand in the JSON text.
WORDS = r"""
NaN Infinity -Infinity 1e999 -1e999 1e-999 1e400 -0 -0.0 0 1 1.0 1e0 01 1. .5 +1 true false null "1" "1.0"
"champion" "challenger" "" "live" "replay" "backfill" {} [] [1,2] [1] [1,2,3] [[1,2]] 10000000 10000000.1 -10000001
1e7 1e11 1e12 2147483647 2147483648 9223372036854775808 123456789012345678901234567890
"a\nb" "\u0000" "\ud800" "\u00e9" "é" "a\\" "\""
"""
ODD = st.sampled_from([*WORDS.split(), '"a\x7fb"', '"a\tb"', '"a\nb"', '"a\x1fb"'])
KEYS = st.sampled_from(["agent_id", "scene_id", "history", "observed_at_s", "model_version", "source", "position", "observations", "extra"])
NUMBERS = st.one_of(st.floats(-2e7, 2e7), st.integers(-(10**8), 10**8), st.floats()).map(json.dumps)
TEXTS = st.one_of(st.text(max_size=5), st.text(st.characters(max_codepoint=0x100), min_size=125, max_size=131))
VALUES = st.one_of(ODD, NUMBERS, TEXTS.map(json.dumps), TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)))


def points(count: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    """Arrays of about eight points, a few of them spoilt."""
    point = st.one_of(*[st.just("[1.5,-2]")] * 4, st.tuples(VALUES, NUMBERS).map(lambda pair: f"[{pair[0]},{pair[1]}]"), VALUES)
    return count.flatmap(lambda n: st.lists(point, min_size=n, max_size=n)).map(lambda parts: f"[{','.join(parts)}]")


@st.composite
def spoilt(draw: st.DrawFn, whole: dict[str, Any]) -> str:
    """A valid object with some fields left out, replaced, added or doubled."""
    fields = [(key, json.dumps(value)) for key, value in whole.items() if draw(st.integers(0, 9)) > 0]
    for _ in range(draw(st.integers(0, 2))):
        value = draw(st.one_of(VALUES, points(st.sampled_from([8, 8, 8, 7, 9, 0]))))
        key = draw(st.sampled_from([key for key, _ in fields] or ["extra"]) if draw(st.booleans()) else KEYS)
        if draw(st.integers(0, 3)):
            fields = [pair for pair in fields if pair[0] != key]
        fields.append((key, value))
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in fields) + "}"


def judge(body: bytes, fast: type[msgspec.Struct], model: type[BaseModel]) -> bool:
    """Compare the two judges; True where both accepted."""
    try:
        accepted = decoder(fast)(body)
    except REFUSALS:
        accepted = None
    try:
        documented = model.model_validate_json(body)
    except ValidationError:
        documented = None
    if accepted is None:
        return False
    assert documented is not None, f"only the fast path accepts {body!r}"
    assert msgspec.to_builtins(accepted) == msgspec.to_builtins(documented.model_dump())
    return True


@settings(max_examples=1_000, deadline=None)
@given(spoilt(PREDICT))
@example('{"agent_id":"a"}')
def test_predict(text: str) -> None:
    judge(text.encode("utf-8", "surrogatepass"), FastPredict, PredictIn)


@settings(max_examples=400, deadline=None)
@given(st.lists(spoilt(OBSERVATION), max_size=3), ODD)
def test_observations(items: list[str], source: str) -> None:
    text = f'{{"observations":[{",".join(items)}],"source":{source}}}'
    judge(text.encode("utf-8", "surrogatepass"), FastObservations, ObservationsIn)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes(data: st.DataObject) -> None:
    body = bytearray(json.dumps(PREDICT).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    judge(bytes(body), FastPredict, PredictIn)


@settings(max_examples=300, deadline=None)
@given(
    agent_id=st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters='"\\'), min_size=1, max_size=128),
    history=st.one_of(st.none(), st.lists(st.tuples(st.floats(-1e7, 1e7), st.integers(-(10**7), 10**7)), min_size=8, max_size=8)),
    observed_at_s=st.one_of(st.none(), st.floats(0, 1e11)),
    model_version=st.one_of(st.none(), st.integers(1, 2**31 - 1), st.sampled_from(["champion", "challenger", "previous_champion"])),
    source=st.sampled_from(["live", "replay"]),
)
def test_valid_bodies_take_the_fast_path(**fields: Any) -> None:
    assert judge(json.dumps(fields, ensure_ascii=False).encode(), FastPredict, PredictIn)


@pytest.mark.parametrize(
    "spoil",
    [
        {"history": HISTORY[:7]},
        {"history": [*HISTORY, [0, 0]]},
        {"history": [["1", 2.0], *HISTORY[1:]]},
        {"history": [[True, 2.0], *HISTORY[1:]]},
        {"history": [[float("nan"), 2.0], *HISTORY[1:]]},
        {"history": [[float("inf"), 2.0], *HISTORY[1:]]},
        {"history": [[1, 2, 3], *HISTORY[1:]]},
        {"history": [[1e7 + 1, 2], *HISTORY[1:]]},
        {"observed_at_s": "1"},
        {"observed_at_s": -1},
        {"model_version": "1"},
        {"model_version": 1.0},
        {"model_version": True},
        {"model_version": 0},
        {"source": "backfill"},
        {"agent_id": ""},
        {"agent_id": "a\n"},
        {"agent_id": 5},
        {"unknown": 1},
    ],
    ids=lambda spoil: json.dumps(spoil)[:40],
)
def test_both_refuse(spoil: dict[str, Any]) -> None:
    body = json.dumps(PREDICT | spoil).encode()
    with pytest.raises(REFUSALS):
        decoder(FastPredict)(body)
    with pytest.raises(ValidationError):
        PredictIn.model_validate_json(body)
