#!/usr/bin/env bash
# Run once a minute: open the sensor's own network when there is no other for a while,
# and close it from time to time, while nobody uses it, to look for the known ones.
set -euo pipefail

readonly name=acoupi-hotspot
readonly patience=2 # minutes without a network before ours is opened
readonly turn=10    # minutes that ours is open before the others are looked for
readonly state=${STATE:?directory of what is known between two runs}

count() { # of minutes in which the same was seen
    local seen=0
    [[ ! -e "$state/$1" ]] || seen=$(<"$state/$1")
    rm -f "$state"/*
    printf '%s' "$((seen + 1))" >"$state/$1"
    echo "$((seen + 1))"
}

devices=$(nmcli -t -f TYPE,STATE,CONNECTION device status)
others=$(grep -E '^(ethernet|wifi|gsm):connected:' <<<"$devices" | grep -vF ":$name" || true)
ours=$(grep -F ":$name" <<<"$devices" || true)

if [[ -n "$others" ]]; then
    rm -f "$state"/*
    if [[ -n "$ours" ]]; then
        nmcli connection down "$name"
    fi
    exit
fi
if [[ -n "$ours" ]]; then
    minutes=$(count open)
    if ((minutes >= turn)) && [[ -z "$(iw dev wlan0 station dump 2>/dev/null)" ]]; then
        rm -f "$state"/*
        nmcli connection down "$name"
        nmcli device wifi rescan || true
    fi
    exit
fi
minutes=$(count alone)
if ((minutes >= patience)); then
    rm -f "$state"/*
    # Absent when acoupi.toml says so; without a radio there is nothing to open.
    nmcli connection up "$name" || true
fi
