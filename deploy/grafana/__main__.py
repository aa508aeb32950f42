"""`python -m deploy.grafana` writes `configs/grafana/dashboards/`."""

from pathlib import Path

from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.layout import as_json

FOLDER = Path("configs/grafana/dashboards")


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for board in DASHBOARDS:
        (FOLDER / f"{board.uid}.json").write_text(as_json(board))


if __name__ == "__main__":
    main()
