#!/bin/sh
# The gate with curl alone, for images that have no syncwatch: waits until an image is usable at a
# destination, and prints its digest.
# Needs: a POSIX shell, curl 7.18 or newer; SYNCWATCH_URL, and SYNCWATCH_TOKEN where there is one.
# Exit codes: 0 usable · 1 no, and why · 2 usage · 3 not yet · 4 cannot tell
set -eu

if [ $# -lt 2 ]; then
    echo "usage: wait-with-curl.sh IMAGE DESTINATION [SECONDS]" >&2
    exit 2
fi
image=$1 destination=$2
url=${SYNCWATCH_URL:-http://127.0.0.1:8081}
end=$(($(date +%s) + ${3:-900}))
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The token goes by standard input: arguments can be read by everybody on the machine.
ask() {
    if [ -n "${SYNCWATCH_TOKEN:-}" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$SYNCWATCH_TOKEN"
    fi | curl -K - -sS -G -o "$answer" -w '%{http_code}' --max-time $(($1 + 30)) \
        --data-urlencode "image=$image" --data-urlencode "destination=$destination" \
        --data-urlencode "wait=${1}s" "$url/api/v1/gate"
}

said() { grep -o "\"$1\": *\"[^\"]*\"" "$answer" | head -n 1 | cut -d '"' -f 4; }

while :; do
    left=$((end - $(date +%s)))
    held=$((left > 55 ? 55 : left > 0 ? left : 0))
    status=$(ask "$held") || status=000
    case $status in
    200)
        said digest
        exit 0
        ;;
    404 | 422)
        # Without destinations it is not the gate that says so.
        grep -q '"destinations"' "$answer" && code=1 || code=4
        echo "$image: $(said message)" >&2
        exit "$code"
        ;;
    409) code=3 pause=1 ;;
    000 | 429 | 5??) code=4 pause=5 ;;
    *)
        echo "$image: $url answers $status" >&2
        exit 4
        ;;
    esac
    if [ "$(date +%s)" -ge "$end" ]; then
        echo "$image: $status $(said message)" >&2
        exit "$code"
    fi
    sleep "$pause"
done
