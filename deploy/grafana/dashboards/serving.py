"""Requests, errors, latencies, versions and processes of the API."""

from deploy.grafana.layout import Board, Line, Panel

SERVING = Board(
    "trajops-serving",
    "TrajOps: Serving",
    "How many predictions are asked for, how fast and how well they are answered, and by which version.",
    (
        (
            "Requests",
            (
                Panel(
                    "Requests",
                    "All routes; a request that its client gave up counts, too.",
                    "reqps",
                    (Line("route:trajops_requests:rate1m", "{{route}}"),),
                ),
                Panel(
                    "Errors",
                    "Answers with a status of 500 or above. The runbook's entry is TrajOpsErrorsHigh.",
                    "reqps",
                    (Line("route:trajops_request_errors:rate1m", "{{route}}"),),
                ),
                Panel(
                    "Time to answer /predict",
                    "From the head of a request to its answer. The objective for p99 is 100 ms.",
                    "s",
                    tuple(Line(f'route:trajops_request_seconds:p{p}_5m{{route="/predict"}}', f"p{p}") for p in (50, 95, 99)),
                    ((None, "green"), (0.1, "red")),
                ),
            ),
        ),
        (
            "Versions",
            (
                Panel(
                    "Predictions by version",
                    "What each version answered under each variant. Model `baseline`: the variant's own model failed.",
                    "reqps",
                    (Line("sum by (model, version, variant) (rate(trajops_predictions_total[1m]))", "{{model}} v{{version}} {{variant}}"),),
                ),
                Panel(
                    "Failures by version",
                    "Predictions that a version failed to give; the baseline answered under the same variant.",
                    "reqps",
                    (Line("sum by (version, variant) (rate(trajops_prediction_errors_total[5m]))", "v{{version}} {{variant}}"),),
                ),
                Panel(
                    "Time of a forecast by version, p95",
                    "From a decoded query to its prediction, before it is recorded.",
                    "s",
                    (
                        Line(
                            "histogram_quantile(0.95, sum by (version, variant, le) (rate(trajops_prediction_seconds_bucket[5m])))",
                            "v{{version}} {{variant}}",
                        ),
                    ),
                ),
                Panel(
                    "Routing epoch",
                    "The epoch that answers in the process that is furthest behind, and the newest one: a swap is a step in both.",
                    "none",
                    (Line("trajops_epoch", "answers"), Line("trajops_newest_epoch", "newest")),
                ),
                Panel(
                    "Model loads and evictions",
                    "In the last 15 minutes. A failed load is tried again; somebody else answers meanwhile.",
                    "short",
                    (
                        Line("sum by (outcome) (increase(trajops_model_loads_total[15m]))", "{{outcome}}"),
                        Line("increase(trajops_model_evictions_total[15m])", "evicted"),
                    ),
                ),
                Panel(
                    "Processes",
                    "Of the API, on the machine that is scraped.",
                    "short",
                    (
                        Line("trajops_api_processes", "all"),
                        Line("trajops_ready_processes", "ready"),
                        Line("trajops_draining_processes", "draining"),
                        Line("trajops_stand_in_processes", "with a stand-in"),
                    ),
                ),
            ),
        ),
        (
            "Load",
            (
                Panel(
                    "In flight and refused",
                    "Predictions that wait for their turn, and those refused each second because they would have waited too long or their "
                    "client had used up its limit.",
                    "short",
                    (
                        Line("trajops_waiting_predictions", "waiting"),
                        Line("rate(trajops_overloads_total[1m])", "refused: overload"),
                        Line("rate(trajops_rate_limited_requests_total[1m])", "refused: limit"),
                    ),
                ),
                Panel(
                    "Predictions in one turn",
                    "How many are forecast and recorded together: it grows with load, and makes each cheaper.",
                    "short",
                    (Line("rate(trajops_turn_predictions_sum[1m]) / rate(trajops_turn_predictions_count[1m])", "mean"),),
                ),
                Panel(
                    "Caches",
                    "Share of credentials that were remembered, and forecasts a second that a slow version remembered.",
                    "short",
                    (
                        Line(
                            'sum(rate(trajops_credential_lookups_total{outcome="hit"}[5m])) '
                            "/ sum(rate(trajops_credential_lookups_total[5m]))",
                            "credentials, share",
                        ),
                        Line("sum(rate(trajops_forecast_cache_hits_total[5m])) or vector(0)", "forecasts a second"),
                    ),
                ),
                Panel(
                    "Processor time",
                    "Cores that the API's processes use together.",
                    "short",
                    (Line("rate(trajops_process_cpu_seconds_total[1m])", "cores"),),
                    width=12,
                ),
                Panel(
                    "Memory",
                    "Resident; what processes share counts in each.",
                    "bytes",
                    (Line("trajops_process_resident_memory_bytes", "resident"), Line("trajops_warm_model_bytes", "warm models")),
                    width=12,
                ),
            ),
        ),
    ),
)
