#!/bin/sh
# A post-renderer of Helm: passes manifests on unchanged as soon as all of their images are usable.
# Where one is not, it ends with an error, and Helm changes nothing. Helm may call it twice, with
# hooks and with the rest: hence --allow-none.
#
# Helm 3: helm upgrade web ./chart --post-renderer ./helm-post-renderer.sh
# Helm 4: as a plugin of type postrenderer/v1 that runs this file.
set -eu

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT

cat >"$rendered"
syncwatch wait -f "$rendered" --on "${SYNCWATCH_DESTINATION:-cluster1}" --allow-none --quiet >&2
cat "$rendered"
