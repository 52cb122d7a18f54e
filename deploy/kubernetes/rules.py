"""Write overlays/production/rules.yaml: `python deploy/kubernetes/rules.py`.

The rules are kept in one file, deploy/prometheus/rules/fedkseed.yml, which a Prometheus without an operator reads as it is.
Kustomize cannot put a file into a resource, so the resource has its text below a head, and a test compares them.
"""

from pathlib import Path
from textwrap import indent

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules" / "fedkseed.yml"
RESOURCE = HERE / "overlays" / "production" / "rules.yaml"
HEAD = """\
# Written by deploy/kubernetes/rules.py from deploy/prometheus/rules/fedkseed.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fedkseed
spec:
"""


def text() -> str:
    """The resource; comments of the file stay where they are, the first of them aside."""
    rules = RULES.read_text(encoding="utf-8")
    return HEAD + indent(rules[rules.index("groups:\n") :], "  ")


if __name__ == "__main__":
    RESOURCE.write_text(text(), encoding="utf-8")
