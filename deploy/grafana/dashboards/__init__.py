"""The four dashboards. Every query must have data from a running product: a test asks the real Prometheus for each."""

from deploy.grafana.dashboards.availability import AVAILABILITY
from deploy.grafana.dashboards.serving import SERVING
from deploy.grafana.dashboards.truth import TRUTH
from deploy.grafana.dashboards.workers import WORKERS

DASHBOARDS = (SERVING, TRUTH, WORKERS, AVAILABILITY)
