"""Releases through the API of a real process under load: nothing fails, and every answer is by the champion of its epoch.

The benchmark `serve_swap` does the same with 100,000 answers and the champion network.
"""

import pytest

from benchmarks.serve_swap import run


@pytest.mark.slow
def test_swaps_of_a_served_model_fail_nothing_and_mislabel_nothing() -> None:
    done = run(("constant_velocity", "kalman"), rounds=1, swaps=5, requests=3_000, quiet_requests=200, period_s=0.1)
    assert done.details["wrong"] == 0
    assert done.details["swaps"] >= 5
    assert done.details["epochs_seen"] >= 5
