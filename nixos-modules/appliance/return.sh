#!/usr/bin/env bash
# Return to the last generation that recorded, now and at the next boots.
set -euo pipefail

readonly state=${STATE:?directory that survives boots}
readonly system=${SYSTEM:-/run/current-system}
readonly profile=${PROFILE:-/nix/var/nix/profiles/system}

current=$(readlink -f "$system")
good=$(readlink -e "$state/good")

same_kernel=
[[ "$(readlink -f "$current/kernel")" != "$(readlink -f "$good/kernel")" ]] || same_kernel=yes
nix-env --profile "$profile" --set "$good"
if [[ -n "$same_kernel" ]]; then
    "$good/bin/switch-to-configuration" switch && exit 0
fi
"$good/bin/switch-to-configuration" boot
systemctl reboot
