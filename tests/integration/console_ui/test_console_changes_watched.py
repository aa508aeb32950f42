"""Each call by which the console changes something is seen in a browser: clicked, told on the page, and found at the API."""

from client_changes import changing, of_browsers, of_the_console, paths_of


def test_each_change_that_the_console_makes_is_clicked_in_a_browser() -> None:
    assert len(changing()) > 50
    assert of_browsers() == of_the_console()


def test_a_change_is_known_by_its_path() -> None:
    assert changing()["pause_canary"] == "/v1/deployments/{}/canary/pause"
    assert paths_of("pause_canary").fullmatch("/v1/deployments/dep-3/canary/pause")
    assert not paths_of("start_canary").fullmatch("/v1/deployments/dep-3/canary/pause")
    assert {"check_experiment", "upload_tracks", "status"} & set(changing()) == set()
