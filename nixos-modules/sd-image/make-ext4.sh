#!/usr/bin/env bash
# Make an ext4 image of a directory, the same bytes for the same files.
# usage: make-ext4.sh DIRECTORY IMAGE LABEL UUID
set -euo pipefail

readonly tree=$1 image=$2 label=$3 uuid=$4
readonly slack=$((64 * 1024 * 1024)) # bytes, for what the first boot writes
# Every tool is told the same time; theirs, and that of the files they copy.
at_one_time() { TZ=UTC faketime -f "1970-01-01 00:00:01" "$@"; }

export SOURCE_DATE_EPOCH=1 E2FSPROGS_FAKE_TIME=1 EXT2FS_NO_MTAB_OK=yes
find "$tree" -exec touch -h -d @1 {} +

inodes=$(find "$tree" | wc -l)
content=$(du -s -B 4096 --apparent-size "$tree" | cut -f 1)
# Each file begins a block; a tenth is for directories, extents and the journal.
bytes=$((4096 * (content + content / 10 + 2 * inodes) + slack))
rm -f "$image"
truncate -s "$bytes" "$image"

# The seed of directory hashes is random otherwise.
at_one_time fakeroot mkfs.ext4 -q -L "$label" -U "$uuid" \
    -E "hash_seed=$uuid,root_owner=0:0,nodiscard" -N "$((inodes + inodes / 5 + 10000))" -d "$tree" "$image"
at_one_time fsck.ext4 -n -f "$image"
