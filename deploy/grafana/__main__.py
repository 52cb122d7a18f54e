"""Writes deploy/grafana/dashboards/*.json: `python -m deploy.grafana`."""

from deploy.grafana.files import FOLDER, files

for name, text in files().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
