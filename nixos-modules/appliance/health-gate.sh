#!/usr/bin/env bash
# Run once a minute: the running generation is good once it records; one that does not in
# time gives way to the last good one. This only looks, notes and calls: what it calls
# (return.sh) changes the system, and data is not touched.
set -euo pipefail

readonly minutes=${MINUTES:?minutes in which a generation has to record}
readonly is_recording=${IS_RECORDING:?command that tells it}
readonly state=${STATE:?directory that survives boots}
readonly runtime=${RUNTIME:?directory of this boot}
readonly system=${SYSTEM:-/run/current-system}

current=$(readlink -f "$system")
good=$(readlink "$state/good" || true)

# `acoupi-update` tries one out and decides itself.
if [[ -e "$runtime/trying" || "$current" == "$good" ]]; then
    rm -f "$runtime/watched"
    exit 0
fi

if "$is_recording"; then
    ln -sfT "$current" "$state/good.new"
    # What it leads to has to be on the card before it is what is returned to.
    sync --file-system "$state"
    mv -fT "$state/good.new" "$state/good"
    rm -f "$runtime/watched"
    echo "this generation records: it is kept as the good one"
    exit 0
fi
if ! systemctl --quiet is-active acoupi.target; then
    echo "the sensor was stopped: nothing to tell"
    rm -f "$runtime/watched"
    exit 0
fi

passed=0
watched=
[[ ! -e "$runtime/watched" ]] || read -r watched passed <"$runtime/watched"
[[ "$watched" == "$current" ]] || passed=0
passed=$((passed + 1))
echo "$current $passed" >"$runtime/watched"
if ((passed < minutes)); then
    exit 0
fi
if [[ -z "$good" || ! -e "$good" ]]; then
    echo "not recording for $passed minutes, and there is no generation that did" >&2
    exit 0
fi

echo "not recording for $passed minutes: returning to $good" >&2
rm -f "$runtime/watched"
systemctl start --no-block acoupi-return.service
