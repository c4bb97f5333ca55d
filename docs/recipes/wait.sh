#!/bin/sh
# Deploys an image as soon as the cluster can pull it, by the digest that was proven.
# Needs: syncwatch, kubectl; SYNCWATCH_URL, and SYNCWATCH_TOKEN where the daemon has a token.
set -eu

image=${1:?usage: wait.sh IMAGE DESTINATION}
destination=${2:?usage: wait.sh IMAGE DESTINATION}

pinned=$(syncwatch wait "$image" --on "$destination" --as-pulled --timeout "${TIMEOUT:-15m}")
kubectl set image deployment/web "web=$pinned"
