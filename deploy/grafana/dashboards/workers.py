"""Jobs, spool and lake."""

from deploy.grafana.layout import Board, Line, Panel

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
