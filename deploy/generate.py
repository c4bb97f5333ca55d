# ruff: noqa: INP001 - a script beside its files
"""Writes kubernetes/prometheusrule.yaml from prometheus/syncwatch.rules.yml, comments and all.

`python deploy/generate.py`; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE / "prometheus/syncwatch.rules.yml"
MANIFEST = HERE / "kubernetes/prometheusrule.yaml"

HEAD = """\
# Made by deploy/generate.py from deploy/prometheus/syncwatch.rules.yml: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: syncwatch
  labels:
    app.kubernetes.io/name: syncwatch
spec:
"""


def manifest() -> str:
    """The rules as a resource of the Prometheus Operator."""
    text = RULES.read_text(encoding="utf-8")
    groups = text[text.index("groups:\n") :]
    return HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(True))


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), encoding="utf-8")
