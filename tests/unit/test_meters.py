"""What one process counts, and how Prometheus reads it."""

import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Meters
from api.metrics_export import BY_NAME, FAMILIES
from api.metrics_merge import Counts
from api.metrics_slots import stored
from api.wiring import Parts
from data.lake.backlog import Backlog, backlog
from data.lake.spool import Spool
from docs.generate import DOCS, metrics_reference
from trajops.deployments.model_ref import ModelRef
from trajops.histogram import Histogram
from trajops.settings import Settings

PLACEHOLDER = '\\ "quoted"\nnew line'


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    found = Parts(Settings(var_dir=tmp_path, environment="test", mlflow_url="http://127.0.0.1:9"))
    yield found
    found.spool.close()


def samples(parts: Parts) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = parts.exposition.text().decode()
    parts.exposition.close()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_value_is_counted_in_the_range_that_it_ends() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.total, histogram.count) == ([2, 2, 2], 10.5, 6)
    assert histogram.numbers() == [2, 2, 2, 10.5]


def test_threads_lose_no_observation() -> None:
    meters, each = Meters(), 20_000
    begin = threading.Barrier(4)

    def observe() -> None:
        begin.wait(20)
        for _ in range(each):
            meters.model("m", 1, "champion").observe(0.25)

    pause_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=observe) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(pause_s)
    assert meters.predictions == {("m", 1, "champion"): 4 * each}
    assert meters.model("m", 1, "champion").total == 4 * each * 0.25


def test_every_family_is_exported_and_what_is_exported_can_be_read(parts: Parts) -> None:
    meters = parts.meters
    meters.route("/predict").observe(200, 0.004)
    meters.route("/predict").observe(503, 20.0)
    meters.route(PLACEHOLDER).observe(404, 0.001)
    meters.model("m", 3, "treatment").observe(0.004)
    meters.count_bulk(ModelRef("m", 3), 7, "oip")
    meters.batches.observe(5)
    meters.observations += 2
    parts.service.failures[ModelRef("m", 3)] = 4
    parts.service.replaced[ModelRef("m", 3), "control"] = 6
    parts.spool.write_lines("predictions", b'{"a":1}\n{"a":2}\n')
    parts.exposition.open()
    text = parts.exposition.text().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    always = {family.name for family in FAMILIES} - {"trajops_shared_quota_up"}
    assert always <= families.keys() <= BY_NAME.keys()
    for family in FAMILIES:
        found = families.get(family.name)
        if found is not None:
            assert (found.type, found.documentation) == (family.kind, family.meaning)
            for sample in found.samples:
                assert sample.labels.keys() - {"le"} == set(family.labels), sample
    found = samples(parts)
    assert found["trajops_requests_total", (("route", PLACEHOLDER), ("status", "404"))] == 1
    assert found["trajops_request_seconds_bucket", (("le", "0.005"), ("route", "/predict"))] == 1
    assert found["trajops_request_seconds_bucket", (("le", "10.0"), ("route", "/predict"))] == 1
    assert found["trajops_request_seconds_bucket", (("le", "+Inf"), ("route", "/predict"))] == 2
    assert found["trajops_request_seconds_sum", (("route", "/predict"),)] == pytest.approx(20.004)
    arm = (("model", "m"), ("variant", "treatment"), ("version", "3"))
    assert found["trajops_predictions_total", arm] == found["trajops_prediction_seconds_count", arm] == 1
    errors = {dict(labels)["variant"]: value for (name, labels), value in found.items() if name == "trajops_prediction_errors_total"}
    assert errors == {"treatment": 0, "control": 6}
    assert found["trajops_bulk_predictions_total", (("door", "oip"), ("model", "m"), ("version", "3"))] == 7
    assert found["trajops_model_failures_total", (("model", "m"), ("version", "3"))] == 4
    assert found["trajops_turn_predictions_bucket", (("le", "4.0"),)] == 0
    assert found["trajops_turn_predictions_bucket", (("le", "8.0"),)] == 1
    assert found["trajops_observations_total", ()] == 2
    assert found["trajops_spool_written_bytes_total", (("table", "predictions"),)] == 16
    assert found["trajops_spool_write_seconds_count", (("table", "predictions"),)] == 1
    assert (found["trajops_spool_pending_bytes", ()], found["trajops_spool_pending_segments", ()]) == (16, 1)
    assert found["trajops_api_processes", ()] == found["trajops_process_starts_total", ()] == 1
    assert found["trajops_ready_processes", ()] == 0
    assert found["trajops_process_resident_memory_bytes", ()] > 10_000_000
    assert found["trajops_process_cpu_seconds_total", ()] > 0


def test_a_histogram_never_falls_from_one_bound_to_the_next_and_ends_at_its_count(parts: Parts) -> None:
    for elapsed_s in (0.0001, 0.004, 0.004, 0.3, 99.0):
        parts.meters.route("/predict").observe(200, elapsed_s)
    found = samples(parts)
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in found.items()
        if name == "trajops_request_seconds_bucket" and dict(labels)["route"] == "/predict"
    )
    values = [value for _, value in buckets]
    assert values == sorted(values)
    assert buckets[-1] == (math.inf, found["trajops_request_seconds_count", (("route", "/predict"),)]) == (math.inf, 5)


def test_numbers_of_other_bounds_or_labels_are_kept_apart() -> None:
    keys = [family.key for family in FAMILIES]
    assert len(set(keys)) == len(keys) == len(BY_NAME)
    assert BY_NAME["trajops_requests"].key == "trajops_requests(route,status)"
    assert BY_NAME["trajops_turn_predictions"].key.endswith("<1.0,2.0,4.0,8.0,16.0,32.0,64.0,128.0,256.0,1024.0,4096.0")


def test_every_gauge_says_how_processes_add_up() -> None:
    read_once = {family.name for family in FAMILIES if family.kind == "gauge" and family.combine is None}
    assert all(name.startswith("trajops_spool_") for name in read_once)
    assert not [family.name for family in FAMILIES if family.kind != "gauge" and family.combine is not None]


def test_two_processes_tell_the_same_sum(tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path, environment="test", mlflow_url="http://127.0.0.1:9")
    first, second = Parts(settings), Parts(settings)
    for process, times in ((first, 3), (second, 4)):
        for _ in range(times):
            process.meters.model("m", 1, "champion").observe(0.002)
        process.exposition.open()
    arm = ("trajops_predictions_total", (("model", "m"), ("variant", "champion"), ("version", "1")))
    told = samples(first)
    assert told[arm] == 7
    assert told["trajops_api_processes", ()] == 2
    left: Counts = stored(settings.metrics_dir)
    assert left[BY_NAME["trajops_predictions"].key] == {("m", "1", "champion"): [7]}
    told = samples(second)
    assert told[arm] == 7
    assert told["trajops_api_processes", ()] == 1


def test_what_lies_in_the_spool(tmp_path: Path) -> None:
    assert backlog(tmp_path / "none") == Backlog(0, 0, 0.0)
    with Spool(tmp_path) as spool:
        spool.write_lines("predictions", b"{}\n")
        (tmp_path / "notes.txt").write_text("not a segment")
        assert backlog(tmp_path) == Backlog(1, 3, 0.0)
    left = backlog(tmp_path)
    assert (left.segments, left.size_bytes) == (1, 3)
    assert left.oldest_s > 0.0


def test_the_committed_reference_is_the_generated_one() -> None:
    assert (DOCS / "metrics.md").read_text() == metrics_reference(), "run `make docs`"
