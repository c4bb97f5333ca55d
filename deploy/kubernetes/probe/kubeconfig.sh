#!/bin/sh
# Print a kubeconfig for syncwatch, of the cluster that kubectl talks to: remote.yaml has to be there.
#
#   (umask 077; deploy/kubernetes/probe/kubeconfig.sh --context cluster1 > cluster1)
#
# It holds a token, and the file is made by the shell that calls this: hence the umask there.
# Options go to kubectl. The address is the one that kubectl uses; where syncwatch reaches the API
# server by another, set SERVER. Needs nothing but kubectl.
set -eu

server=${SERVER:-$(kubectl "$@" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')}

held() {
    field=$1
    shift
    kubectl "$@" -n syncwatch get secret syncwatch-token -o "jsonpath={.data.$field}"
}

# A controller fills the Secret in a moment after it was made.
tries=0
until token=$(held token "$@") && [ -n "$token" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 20 ]; then
        echo "the Secret syncwatch-token in the namespace syncwatch holds no token" >&2
        exit 1
    fi
    sleep 0.5
done
authority=$(held 'ca\.crt' "$@")

cat <<YAML
apiVersion: v1
kind: Config
clusters:
  - name: cluster
    cluster:
      server: $server
      certificate-authority-data: $authority
users:
  - name: syncwatch
    user:
      token: $(printf '%s' "$token" | base64 -d)
contexts:
  - name: syncwatch
    context:
      cluster: cluster
      user: syncwatch
      namespace: syncwatch-probe
current-context: syncwatch
YAML
