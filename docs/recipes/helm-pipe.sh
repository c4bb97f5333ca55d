#!/bin/sh
# Renders a chart, waits for all of its images, and applies exactly what was waited for.
# Needs: helm, syncwatch, kubectl; SYNCWATCH_URL, and SYNCWATCH_TOKEN where the daemon has a token.
set -eu

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT

helm template web ./chart --skip-tests "$@" >"$rendered"
syncwatch wait -f "$rendered" --on cluster1 --quiet >&2
kubectl apply -f "$rendered"
