#!/usr/bin/env bash
# Try a generation out, and make it the one that is started only when it records: until
# then a reset, by the watchdog or by hand, brings the former one back.
set -euo pipefail

if (($# != 1)) || [[ ! -x "$1/bin/switch-to-configuration" ]]; then
    echo "usage: acoupi-update /nix/store/...-nixos-system-...  (copied here beforehand)" >&2
    exit 2
fi
readonly minutes=${MINUTES:?} is_recording=${IS_RECORDING:?} runtime=${RUNTIME:?}
readonly profile=${PROFILE:-/nix/var/nix/profiles/system}
readonly step=${STEP:-60}
new=$(readlink -f "$1")
former=$(readlink -f "${SYSTEM:-/run/current-system}")

mkdir -p "$runtime"
echo "$new" >"$runtime/trying"
trap 'rm -f "$runtime/trying"' EXIT

back() {
    echo "$1: returning to $former" >&2
    "$former/bin/switch-to-configuration" test || true
    exit 1
}

"$new/bin/switch-to-configuration" test || back "it could not be started"
for ((passed = 0; passed < minutes; passed++)); do
    sleep "$step"
    if "$is_recording"; then
        nix-env --profile "$profile" --set "$new"
        "$new/bin/switch-to-configuration" boot
        echo "it records, and is started from now on"
        [[ "$(readlink -f "$new/kernel")" == "$(readlink -f "$former/kernel")" ]] ||
            echo "its kernel is another: that takes a reboot"
        exit 0
    fi
done
back "no recording within $minutes minutes"
