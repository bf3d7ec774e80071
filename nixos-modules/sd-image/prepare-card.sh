#!/usr/bin/env bash
# Use the whole card: at the first boot the system's partition grows to a bounded size, and
# the rest becomes the partition of data, which is mounted at each boot. Each step may be
# cut short and is then done at the next boot.
#
# Whatever goes wrong, the boot goes on: then data is on the system's partition, and the
# report on the card says so.
set -euo pipefail

readonly data=${DATA:-/data}
readonly state=${STATE:-/var/lib/acoupi-card} # survives boots, is on the system's partition
readonly said=${SAID:-/run/acoupi-card.txt}   # what is wrong, for the report
readonly label=ACOUPI_DATA
readonly mebi=2048                  # sectors of 512 bytes
readonly least_data=$((128 * mebi)) # below, a partition of its own is no use
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

write_table() { # from standard input; the partitions of it may be in use
    sfdisk --quiet --no-reread --no-tell-kernel "$disk"
    partx --update "$disk" || true
    udevadm settle --timeout=30 || true
}

divide() {
    local total start size wanted begin
    total=$(blockdev --getsz "$disk")
    start=$(field 2 start)
    size=$(field 2 size)
    # Half of a small card, a fixed size of a large one.
    wanted=$(((total - start) / 2))
    ((wanted < system_size)) || wanted=$system_size
    ((wanted > size)) || wanted=$size
    wanted=$((wanted / mebi * mebi))
    ((wanted >= size)) || wanted=$size
    begin=$(((start + wanted + mebi - 1) / mebi * mebi))
    if ((total - begin < least_data)); then
        # All that is left is the system's, and data is beside it.
        wanted=$((total - start))
        ((wanted <= size)) || set_system_size "$wanted" | write_table
        return
    fi
    # Both entries in one write of the table.
    {
        set_system_size "$wanted"
        echo "$(partition 3) : start=$begin, type=83"
    } | write_table
}

set_system_size() {
    sfdisk --dump "$disk" | sed "s|^\($(partition 2) :.*size= *\)[0-9]*|\1$1|"
}

format() {
    mkdir -p "$state"
    if [[ -e "$state/formatted" ]]; then
        return # whatever it looks like now, it holds recordings
    fi
    if [[ "$(blkid -p -s LABEL -o value "$(partition 3)" || true)" != "$label" ]]; then
        # The label is written last: without it nothing was ever stored here.
        mkfs.ext4 -q -F -L "$label" -m 1 -E lazy_itable_init=1,nodiscard "$(partition 3)"
    fi
    touch "$state/formatted"
    sync --file-system "$state"
}

repair() { # 0: sound, 1: mended
    fsck.ext4 -p "$(partition 3)" || [[ $? == 1 ]] ||
        fsck.ext4 -y "$(partition 3)" || [[ $? == 1 ]]
}

use() {
    [[ -n "$(field 3 start)" ]] || divide
    # Harmless when there is nothing to grow.
    resize2fs "$root" || true
    if [[ -z "$(field 3 start)" ]]; then
        echo "the card is too small for a partition of data: take one of 8 GB or more" >"$said"
        return
    fi
    format
    repair
    # Fewer writes; what must survive a power cut is synchronised by name.
    mount -t ext4 -o noatime,nodev,nosuid,commit=30 "$(partition 3)" "$data"
}

rm -f "$said"
mkdir -p "$data"
# In a process of its own, where the first thing that fails ends it.
(set -e; use) & wait "$!" || {
    echo "the partition of data cannot be used, so new recordings are on the system's partition;" \
        "the card may be worn out: copy it (recordings are on its last partition) and take a new one" >"$said"
    cat "$said" >&2
}
