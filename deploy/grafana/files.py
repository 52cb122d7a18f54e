"""The files that Grafana reads: one for each dashboard, by its name."""

from collections.abc import Mapping
from pathlib import Path

from deploy.grafana import clients, federation, ledger, sdk, servers
from deploy.grafana.dashboard import Dashboard

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: tuple[Dashboard, ...] = (federation.DASHBOARD, ledger.DASHBOARD, clients.DASHBOARD, servers.DASHBOARD)


def files() -> Mapping[str, str]:
    """What is in the folder, by the name of the file."""
    return {f"{dashboard.name}.json": sdk.text(dashboard) for dashboard in DASHBOARDS}
