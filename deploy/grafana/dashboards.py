"""The four dashboards. Every query must have data from a running product: a test asks the real Prometheus for each."""

from deploy.grafana.layout import Board, Line, Panel

GOOD_BAD = ((None, "red"), (0.5, "orange"), (0.9, "green"))

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

TRUTH = Board(
    "trajops-truth",
    "TrajOps: Truth and accuracy",
    "Whether truth arrives for what was predicted, and whether traffic still looks like the reference.",
    (
        (
            "Truth",
            (
                Panel(
                    "Predictions with truth",
                    "Share of the predictions of the last half hour for which positions arrived later, wholly or in part.",
                    "percentunit",
                    (Line("trajops:truth_share:ratio_30m", "with truth"),),
                    GOOD_BAD,
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Drift",
                    "-1 too little data, 0 stable, 1 warning, 2 drift, by the newest check.",
                    "none",
                    (
                        Line(
                            "trajops_drift_verdict and trajops_drift_last_check_timestamp_seconds == "
                            "scalar(max(trajops_drift_last_check_timestamp_seconds))",
                            "verdict",
                        ),
                    ),
                    ((None, "text"), (0, "green"), (1, "orange"), (2, "red")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Since the last drift check",
                    "Beyond some minutes nothing is known of drift.",
                    "s",
                    (Line("time() - max(trajops_drift_last_check_timestamp_seconds)", "age"),),
                    ((None, "green"), (120, "orange"), (300, "red")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Tracks in the checked window",
                    "A verdict needs as many as configs/drift.yaml says.",
                    "short",
                    (Line("max(trajops_drift_current_agents)", "tracks"),),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "What became of predictions",
                    "Predictions that truth is waited for no longer: it is complete, partial or none, or they cannot be scored.",
                    "reqps",
                    (Line("sum by (truth) (rate(trajops_truth_predictions_total[5m]))", "{{truth}}"),),
                    width=12,
                ),
                Panel(
                    "Predictions with truth by version",
                    "Share of the last half hour, wholly or in part: what accuracy by version and variant rests on.",
                    "percentunit",
                    (Line("model_version_variant:trajops_truth_share:ratio_30m", "v{{model_version}} {{variant}}"),),
                    width=12,
                ),
            ),
        ),
        (
            "Drift",
            (
                Panel(
                    "Drift score as a share of its threshold",
                    "From 1 on a column is flagged; an alarm needs two of three checks.",
                    "percentunit",
                    (Line("max by (column) (column:trajops_drift_score:of_threshold)", "{{column}}"),),
                    ((None, "green"), (1, "red")),
                    width=12,
                ),
                Panel(
                    "Drift scores",
                    "In the unit of each column's method; see the console's Drift page.",
                    "short",
                    (Line("max by (column) (trajops_drift_score)", "{{column}}"),),
                    width=12,
                ),
                Panel(
                    "Positions stored",
                    "Truth for what was predicted before.",
                    "reqps",
                    (Line("rate(trajops_observations_total[1m])", "positions"),),
                    width=12,
                ),
                Panel(
                    "Agents in the track buffers",
                    "Agents that can be asked for by id alone.",
                    "short",
                    (Line("trajops_buffered_agents", "agents"),),
                    width=12,
                ),
            ),
        ),
    ),
)

WORKERS = Board(
    "trajops-workers",
    "TrajOps: Workers and lake",
    "What runs in the background, in time or not, and how far the lake is behind.",
    (
        (
            "Jobs",
            (
                Panel(
                    "Since the last success",
                    "A job is late after three intervals.",
                    "s",
                    (Line("job_name:trajops_job_since_success:seconds", "{{job_name}}"),),
                ),
                Panel(
                    "Runs",
                    "By outcome; the console's Services page has each run with its error.",
                    "ops",
                    (Line("job_name:trajops_job_runs:rate5m", "{{job_name}} {{outcome}}"),),
                ),
                Panel(
                    "Duration, p95",
                    "Of the runs of the last 15 minutes.",
                    "s",
                    (
                        Line(
                            "histogram_quantile(0.95, sum by (job_name, le) (rate(trajops_job_duration_seconds_bucket[15m])))",
                            "{{job_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Delay, p95",
                    "From the time at which a run was due until it began.",
                    "s",
                    (
                        Line(
                            "histogram_quantile(0.95, sum by (job_name, le) (rate(trajops_job_queue_delay_seconds_bucket[15m])))",
                            "{{job_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Passed over",
                    "Times at which a worker did not run a job: another one had it, it was still running, not due, or paused.",
                    "ops",
                    (Line("sum by (reason) (rate(trajops_job_skips_total[5m]))", "{{reason}}"),),
                ),
                Panel(
                    "Missed and made up for",
                    "Times of the schedule at which nobody ran a job, and runs that made up for them; in the last hour.",
                    "short",
                    (
                        Line("sum by (job_name) (increase(trajops_job_misfires_total[1h]))", "{{job_name}} missed"),
                        Line("sum by (job_name) (increase(trajops_job_catch_ups_total[1h]))", "{{job_name}} made up"),
                    ),
                ),
                Panel(
                    "Running and paused",
                    "Jobs in progress, and jobs that somebody has paused.",
                    "short",
                    (Line("sum(trajops_job_running)", "running"), Line("sum(max by (job_name) (trajops_job_paused))", "paused")),
                    width=12,
                ),
                Panel(
                    "Workers",
                    "That answer Prometheus.",
                    "short",
                    (Line('sum(up{job="workers"})', "up"),),
                    width=12,
                ),
            ),
        ),
        (
            "Spool and lake",
            (
                Panel(
                    "Oldest closed segment",
                    "Since it was written; beyond some minutes nothing is compacted.",
                    "s",
                    (Line("trajops_spool_oldest_seconds", "oldest"),),
                    ((None, "green"), (300, "red")),
                ),
                Panel(
                    "Waiting for the lake",
                    "Bytes in the spool.",
                    "bytes",
                    (Line("trajops_spool_pending_bytes", "bytes"),),
                ),
                Panel(
                    "Segments in the spool",
                    "Open ones included.",
                    "short",
                    (Line("trajops_spool_pending_segments", "segments"),),
                ),
                Panel(
                    "Written to the spool",
                    "By table.",
                    "bytes",
                    (Line("rate(trajops_spool_written_bytes_total[1m])", "{{table}}, a second"),),
                ),
                Panel(
                    "One write, p99",
                    "Answers wait for it.",
                    "s",
                    (Line("histogram_quantile(0.99, sum by (le) (rate(trajops_spool_write_seconds_bucket[5m])))", "p99"),),
                ),
                Panel(
                    "Failed writes",
                    "Answers are withheld when they cannot be recorded.",
                    "short",
                    (
                        Line("sum(increase(trajops_spool_failed_writes_total[5m]))", "writes"),
                        Line("increase(trajops_spool_failed_syncs_total[5m])", "syncs"),
                    ),
                ),
            ),
        ),
    ),
)

AVAILABILITY = Board(
    "trajops-availability",
    "TrajOps: Availability",
    "The objective of 99.9 % over 30 days, what is left of its error budget, and how fast it burns.",
    (
        (
            "Objective",
            (
                Panel(
                    "Error budget left, by the probe",
                    "Of the 43 minutes that may be bad in 30 days. Below 0 the objective is missed.",
                    "percentunit",
                    (Line('trajops:budget_left:ratio_30d{indicator="probe"}', "left"),),
                    ((None, "red"), (0, "orange"), (0.25, "green")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Error budget left, by what was served",
                    "Of the one in a thousand requests to /predict that may fail in 30 days.",
                    "percentunit",
                    (Line('trajops:budget_left:ratio_30d{indicator="served"}', "left"),),
                    ((None, "red"), (0, "orange"), (0.25, "green")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Availability of the last hour",
                    "Share of probes that were answered well.",
                    "percentunit",
                    (Line('1 - trajops:errors:ratio_rate1h{indicator="probe"}', "good"),),
                    ((None, "red"), (0.99, "orange"), (0.999, "green")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Since the last probe",
                    "Minutes without a probe are unknown.",
                    "s",
                    (Line("time() - max(trajops_probe_last_timestamp_seconds)", "age"),),
                    ((None, "green"), (60, "orange"), (120, "red")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Burn rate, by the probe",
                    "1 uses the budget up in exactly 30 days; somebody is called at 14.4 over 1 h and 5 min, 6 over 6 h and 30 min, 1 over "
                    "3 d and 6 h.",
                    "short",
                    tuple(
                        Line(f'trajops:errors:ratio_rate{window}{{indicator="probe"}} / 0.001', window)
                        for window in ("5m", "30m", "1h", "6h", "3d")
                    ),
                    ((None, "green"), (1, "orange"), (14.4, "red")),
                    width=12,
                ),
                Panel(
                    "Burn rate, by what was served",
                    "The same for requests to /predict.",
                    "short",
                    tuple(
                        Line(f'trajops:errors:ratio_rate{window}{{indicator="served"}} / 0.001', window)
                        for window in ("5m", "30m", "1h", "6h", "3d")
                    ),
                    ((None, "green"), (1, "orange"), (14.4, "red")),
                    width=12,
                ),
            ),
        ),
        (
            "Probe",
            (
                Panel(
                    "Probes by outcome",
                    "Refused: an error status. Wrong: no forecast. Slow: beyond good_within_s of configs/objectives.yaml.",
                    "ops",
                    (Line("sum by (outcome) (rate(trajops_probes_total[5m]))", "{{outcome}}"),),
                    width=12,
                ),
                Panel(
                    "Time to the answer",
                    "As a client sees it that comes for the first time.",
                    "s",
                    tuple(
                        Line(f"histogram_quantile(0.{p}, sum by (le) (rate(trajops_probe_seconds_bucket[5m])))", f"p{p}") for p in (50, 95)
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)

DASHBOARDS = (SERVING, TRUTH, WORKERS, AVAILABILITY)
