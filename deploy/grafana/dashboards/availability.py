"""The error budget, how fast it burns, and the probe."""

from deploy.grafana.layout import Board, Line, Panel

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
                    "Of the 43 minutes that may be bad in 30 days, by what this Prometheus has seen. Below 0 the objective is missed.",
                    "percentunit",
                    (Line('trajops:budget_left:ratio_30d{indicator="probe"}', "left"),),
                    ((None, "red"), (0, "orange"), (0.25, "green")),
                    is_number=True,
                    width=6,
                ),
                Panel(
                    "Error budget left, by what was served",
                    "Of the same 43 minutes; bad is the share of requests to /predict that failed, for as long as somebody asked.",
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
