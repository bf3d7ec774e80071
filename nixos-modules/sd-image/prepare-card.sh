#!/usr/bin/env bash
# Use the whole card, at the first boot: the system's partition grows to a bounded size,
# the rest becomes the partition of data. Each step may be cut short and is then done at
# the next boot.
set -euo pipefail

readonly label=ACOUPI_DATA
readonly mebi=2048                          # sectors of 512 bytes
readonly least_data=$((512 * mebi))         # below, a partition of its own is no use
readonly system_size=$((${SYSTEM_GIBIBYTES:-8} * 1024 * mebi))

root=${ROOT_DEVICE:-$(findmnt -nvo SOURCE /)}
disk=${DISK:-/dev/$(lsblk -ndo PKNAME "$root")}
readonly root disk

# Name of a partition: mmcblk0p3, sda3.
partition() {
    if [[ "$disk" == *[0-9] ]]; then echo "${disk}p$1"; else echo "${disk}$1"; fi
}

field() { # of partition $1: start or size, in sectors; empty when there is none
    sfdisk --dump "$disk" | sed -n "s|^$(partition "$1") :.*$2= *\([0-9]*\).*|\1|p"
}

if [[ -z "$(field 3 start)" ]]; then
    total=$(blockdev --getsz "$disk")
    start=$(field 2 start)
    size=$(field 2 size)
    # Half of a small card, a fixed size of a large one.
    wanted=$(((total - start) / 2))
    ((wanted < system_size)) || wanted=$system_size
    ((wanted > size)) || wanted=$size
    wanted=$((wanted / mebi * mebi))
    ((wanted >= size)) || wanted=$size
    data=$(((start + wanted + mebi - 1) / mebi * mebi))
    if ((total - data < least_data)); then
        echo "the card is too small for a partition of data: take one of 8 GB or more" >&2
        exit 1
    fi
    # Both entries in one write of the table.
    {
        sfdisk --dump "$disk" | sed "s|^\($(partition 2) :.*size= *\)[0-9]*|\1$wanted|"
        echo "$(partition 3) : start=$data, type=83"
    } | sfdisk --no-reread --no-tell-kernel "$disk"
    partx --update "$disk" || true
    udevadm settle --timeout=30 || true
fi

# Harmless when there is nothing to grow.
resize2fs "$root"

if [[ "$(blkid -p -s LABEL -o value "$(partition 3)" || true)" != "$label" ]]; then
    # The label is written last: without it nothing was ever stored here.
    mkfs.ext4 -q -F -L "$label" -m 1 -E lazy_itable_init=1,nodiscard "$(partition 3)"
    udevadm settle --timeout=30 || true
fi
