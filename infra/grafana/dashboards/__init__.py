"""Grafana's dashboards, as code. `python -m infra.grafana.dashboards` writes ../json."""

import warnings

# Grafana 12 reads this form from files; the library would rather have that of its successors.
warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
