#!/usr/bin/env bash
# Give the system what was found on the card: as root, before the network is started.
#   name  a name of the sensor's own, until it gets one
#   all   name, time zone, country, keys and networks
set -euo pipefail

readonly files=${SYSTEM_FILES:?directory that acoupi provision writes}
readonly runtime=${RUNTIME:?directory for keys, in memory}
readonly admin=${ADMIN:?who logs in}
readonly root=${ROOT-} # another root, for tests

replace() { # the file $2 by $1's content, at once
    [[ "$(<"$1")" == "$(cat "$2" 2>/dev/null || true)" ]] && return
    cp "$1" "$2.new"
    mv -fT "$2.new" "$2"
}

own_name() {
    local serial="$root/proc/device-tree/serial-number" id
    if [[ -e "$serial" ]]; then
        id=$(tr -d '\0' <"$serial")
    else
        id=$(<"$root/etc/machine-id")
    fi
    echo "acoupi-${id: -6}"
}

take_name() {
    local name="$files/hostname"
    if [[ ! -s "$name" ]]; then
        [[ -s "$root/etc/hostname" ]] || own_name >"$root/etc/hostname"
    else
        replace "$name" "$root/etc/hostname"
    fi
    tr -d '\n' <"$root/etc/hostname" >"$root/proc/sys/kernel/hostname"
}

take_time_zone() {
    local zone
    [[ -s "$files/timezone" ]] || return 0
    zone=$(<"$files/timezone")
    [[ -e "$root/etc/zoneinfo/$zone" ]] || return 0
    ln -sfT "/etc/zoneinfo/$zone" "$root/etc/localtime.new"
    mv -fT "$root/etc/localtime.new" "$root/etc/localtime"
}

take_keys() {
    install -d -m 0755 "$runtime/keys"
    if [[ -s "$files/authorized_keys" ]]; then
        install -m 0644 "$files/authorized_keys" "$runtime/keys/$admin"
    else
        rm -f "$runtime/keys/$admin"
    fi
}

take_networks() {
    local there="$root/run/NetworkManager/system-connections" file
    install -d -m 0755 "$root/run/NetworkManager"
    install -d -m 0700 "$there"
    rm -f "$there"/acoupi-*.nmconnection
    for file in "$files"/connections/*.nmconnection; do
        [[ ! -e "$file" ]] || install -m 0600 "$file" "$there/"
    done
    [[ ! -s "$files/country" ]] || iw reg set "$(<"$files/country")" || true
}

take_name
if [[ "${1-all}" == all ]]; then
    # Each as far as it goes: none stops the others.
    take_time_zone || true
    take_keys || true
    take_networks || true
fi
