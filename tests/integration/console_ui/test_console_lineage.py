"""Where a version comes from and what became of it, on the page of models: the chain, its links, links to a version, time ranges."""

from functools import partial

import pytest
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

opened = partial(opened_page, "Models")
pytestmark = pytest.mark.slow
HEADER = "Lineage, validation and model card"


def step(app: AppTest, number: int) -> str:
    found = app.container(key=f"lineage-{number}")
    lines = [*(one.value for one in found.markdown), *(one.value for one in found.caption)]
    return "\n".join(lines).replace("\\", "").replace("\u00a0", " ")


def test_a_link_opens_the_chain_of_its_version_first(server: StubServer) -> None:
    app = opened(version="3")
    assert next(one.value for one in app.header) == HEADER
    assert app.selectbox(key="validation-version").value == 3
    assert "match first half" in step(app, 0)
    assert "Gaussian MLP, run run3" in step(app, 1)
    assert "commit f67ad56d" in step(app, 1)
    assert "v3, known since" in step(app, 2)
    assert "challenger" in step(app, 3)
    assert "took part in" in step(app, 4)
    assert len([one.value for one in app.header if one.value == HEADER]) == 1


def test_without_a_link_the_newest_version_is_shown_in_its_place(server: StubServer) -> None:
    app = opened()
    headers = [one.value for one in app.header]
    assert headers.index("Versions") < headers.index(HEADER)
    assert "It has never answered." in step(app, 3)
    app.selectbox(key="validation-version").set_value(2).run()
    assert app.query_params["version"] in ("2", ["2"])
    assert "champion" in step(app, 3)
    assert [one.value for one in app.header].index("Versions") < [one.value for one in app.header].index(HEADER), "nothing jumps"


@pytest.mark.parametrize("asked", ["99", "x", "-1", "9" * 30])
def test_a_link_to_no_version_says_so(server: StubServer, asked: str) -> None:
    app = opened(version=asked)
    assert "There is no version" in text(app)
    assert app.selectbox(key="validation-version").value == 5


def test_a_link_opens_the_card(server: StubServer, api: StubApi) -> None:
    app = opened(version="2", card="1")
    assert not app.exception
    assert "Model card: trajectory v2" in text(app)


def test_what_was_live_is_cut_to_the_time_range(server: StubServer) -> None:
    def epochs(app: AppTest) -> list[int]:
        return next((list(one.value["Epoch"]) for one in app.dataframe if "Epoch" in one.value.columns), [])

    assert epochs(opened(range="24h")) == [3, 2, 1]
    hour = opened(range="1h")
    assert epochs(hour) == [3]
    assert "2 changes of routes before this time range" in text(hour)
    quarter = opened(range="15m")
    assert epochs(quarter) == []
    assert not quarter.exception
