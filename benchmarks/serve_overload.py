"""What those get who are let in while far more comes in than can be answered.

Four hundred connections send again the moment they are answered or refused, which is harsher than any client that heeds
Retry-After; the model is the slower one, so that this is several times what one process can answer. The value is the 99th
percentile of the answers, as the clients see it. A refusal must carry Retry-After; anything else is a failure. Capacity is
measured in the same run, with 16 connections and nothing refused.
"""

import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.product import api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body

FAMILY = "gradient_boosting"
CONNECTIONS, REQUESTS, WARM_UP = 400, 20_000, 2_000


def run() -> Measurement:
    """Measure capacity, then overload."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder), FAMILY)
        port = free_port()
        request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
        with process(*api(product, port)):
            load.closed_loop("127.0.0.1", port, request, requests=WARM_UP)
            calm = load.closed_loop("127.0.0.1", port, request, requests=WARM_UP)
            crowd = load.closed_loop("127.0.0.1", port, request, requests=REQUESTS, connections=CONNECTIONS)
            after = load.closed_loop("127.0.0.1", port, request, requests=WARM_UP)
    wrong = calm.failures + calm.refusals + crowd.failures + after.failures + after.refusals
    if wrong:
        raise RuntimeError(f"{wrong} answers were neither a prediction nor a refusal where one is due")
    details = {
        "model": FAMILY,
        "connections": CONNECTIONS,
        "refused_share": round(crowd.refusals / REQUESTS, 3),
        "capacity_per_s": round(calm.answers / calm.wall_s),
        "answered_per_s": round(crowd.answers / crowd.wall_s),
        "p50_ms": round(crowd.quantile_ms(0.5), 1),
        "calm_p99_ms": round(calm.quantile_ms(0.99), 1),
        "after_p99_ms": round(after.quantile_ms(0.99), 1),
    }
    return Measurement(crowd.quantile_ms(0.99), details)
