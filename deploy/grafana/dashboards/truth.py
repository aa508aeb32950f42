"""Truth that arrives, what became of the rest, and drift."""

from deploy.grafana.layout import Board, Line, Panel

GOOD_BAD = ((None, "red"), (0.5, "orange"), (0.9, "green"))

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
