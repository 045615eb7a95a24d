"""Grafana's dashboards, as code. `python -m infra.grafana.dashboards` writes ../json."""

import warnings

# Grafana 12 reads this form from files; the library recommends the form of later versions.
warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
