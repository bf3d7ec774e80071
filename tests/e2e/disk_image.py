"""What virtual machines boot from: a kernel, an initial file system, a disk image.

The image holds the same layers as the containers' (`layers`) on a Debian with a kernel
and with what real hardware needs: udev, and a sound card of the kernel's (snd-aloop)
in place of a sound server. Nothing is mounted where others see it: ``mke2fs -d``
fills the file system. What is made is kept in the cache of the layers.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import layers
from agent import AGENT

PACKAGES = (
    *layers.PACKAGES,
    *("udev", "kmod", "alsa-utils", "e2fsprogs", "dmsetup", "busybox-static"),
    *("fdisk", "nftables", "psmisc"),
)

MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "ext4"),
    *("crc32c_generic", "snd-aloop", "snd-dummy", "loop", "vfat", "nls_iso8859-1"),
    *("nls_cp437", "dm-flakey", "dm-delay", "sch_netem", "i6300esb", "autofs4"),
    *("efivarfs", "nf_tables", "nft_reject_inet", "nft_ct", "overlay"),
)
"""Modules of the kernel that are kept, with what they depend on."""

FIRST_MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_console", "virtio_net"),
    *("crc32c_generic", "ext4"),
)
"""What the root file system and the way to the machine need."""

CHIRPS = "/opt/sound/chirps.wav"
"""Played to the microphone for ever when it is there."""

SIZE = "3G"
"""Of the root disk; what is not written takes no space."""

KERNEL_HOOK = """\
set -e
root=$1
mkdir -p "$root/tmp/kernel"; cd "$root/tmp/kernel"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
export APT_CONFIG
package=$(apt-cache depends linux-image-amd64 |
    sed -n 's/.*Depends: \\(linux-image-[0-9][^ ]*\\).*/\\1/p' | head -n 1)
# Unpacked, not installed: no initial file system of Debian's is wanted.
apt-get -qq -o APT::Sandbox::User=root download "$package"
dpkg-deb -x linux-image-*.deb unpacked
mkdir -p "$root/usr/lib/modules"
mv unpacked/lib/modules/* "$root/usr/lib/modules/"
cp unpacked/boot/vmlinuz-* "$root/boot/vmlinuz"
cd /; rm -rf "$root/tmp/kernel"
for version in "$root"/usr/lib/modules/*; do
    chroot "$root" /sbin/depmod "$(basename "$version")"
done
"""

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/$module"; done </modules
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
mount -t ext4 -o rw,noatime /dev/vda /system || { echo "no root"; poweroff -f; }
umount /proc /sys; mount --move /dev /system/dev
exec switch_root /system /sbin/init
"""

SOUND_CARD_UNIT = """\
[Unit]
Description=A sound card of the kernel's: what is played into it is recorded from it
DefaultDependencies=no
After=systemd-udevd.service
Before=sound.target sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/modprobe snd-aloop
[Install]
WantedBy=sysinit.target
"""

PLAYER_UNIT = f"""\
[Unit]
Description=What is heard
After=microphone.service
ConditionPathExists={CHIRPS}
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'while :; do aplay -q -D speaker {CHIRPS} || sleep 0.5; done'
Restart=always
[Install]
WantedBy=multi-user.target
"""

NETWORK_UNIT = """\
[Unit]
Description=The way to the host, in machines that have one
DefaultDependencies=no
After=systemd-udev-trigger.service
Before=network.target
ConditionPathExists=/sys/class/net/eth0
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; \\
ip route add default via 10.0.2.2'
[Install]
WantedBy=sysinit.target
"""

AGENT_UNIT = """\
[Unit]
Description=Runs what the tests ask for
DefaultDependencies=no
After=systemd-remount-fs.service
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -I /usr/local/sbin/agent
Restart=always
RestartSec=0.2
OOMScoreAdjust=-1000
Nice=-5
KillMode=process
[Install]
WantedBy=sysinit.target
"""

FILES = {
    **layers.FILES,
    "etc/hosts": "127.0.0.1 localhost sensor\n10.0.2.2 host\n",
    "etc/fstab": (
        "/dev/vda / ext4 rw,noatime,errors=remount-ro 0 1\n"
        # Masked in machines that have no such disk.
        "LABEL=sensor /var/lib/acoupi ext4 rw,noatime,nofail 0 2\n"
    ),
    "etc/modprobe.d/aloop.conf": (
        "options snd-aloop index=0 id=Loopback pcm_substreams=1\n"
    ),
    "etc/asound.conf": (
        "pcm.microphone { type hw card Loopback device 1 }\n"
        'pcm.speaker { type plug slave.pcm "hw:Loopback,0" }\n'
    ),
    "etc/systemd/system/microphone.service": SOUND_CARD_UNIT,
    "etc/systemd/system/player.service": PLAYER_UNIT,
    "etc/systemd/system/agent.service": AGENT_UNIT,
    "etc/systemd/system/way-to-host.service": NETWORK_UNIT,
    "etc/systemd/journald.conf.d/size.conf": "[Journal]\nSystemMaxUse=32M\n",
    "etc/systemd/system.conf.d/console.conf": "[Manager]\nShowStatus=no\n",
    "usr/local/sbin/agent": AGENT,
    "etc/machine-id": "6d1f8c2a0e5b4c7d9a3f2b1e0c8d7a65\n",
}

LINKS = {
    **layers.LINKS,
    "etc/systemd/system/multi-user.target.wants/player.service": "../player.service",
    "etc/systemd/system/sysinit.target.wants/agent.service": "../agent.service",
    "etc/systemd/system/sysinit.target.wants/way-to-host.service": (
        "../way-to-host.service"
    ),
    "etc/systemd/system/sysinit.target.wants/microphone.service": (
        "../microphone.service"
    ),
    **{
        f"etc/systemd/system/{unit}": "/dev/null"
        for unit in (
            *("nftables.service", "alsa-restore.service", "alsa-state.service"),
            *("systemd-update-utmp.service", "systemd-pcrphase-sysinit.service"),
            *("getty@tty1.service", "serial-getty@ttyS0.service"),
            "systemd-binfmt.service",
        )
    },
}
del LINKS["etc/systemd/system/multi-user.target.wants/microphone.service"]

NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
"""Commands, and the Debian packages that bring them."""


@dataclass(frozen=True)
class BootFiles:
    """What a virtual machine boots from."""

    kernel: Path
    initial: Path
    """The initial file system (initramfs)."""
    disk: Path
    """Image of the root disk; machines write to a copy of it."""


def missing() -> str | None:
    """Return why no virtual machine can be booted here, None when one can."""
    for command, package in NEEDED.items():
        if shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            return f"{command} is not installed (Debian: {package})"
    return layers.missing()


def boot_files(cache: Path | None = None) -> BootFiles:
    """Return what to boot this checkout from; made unless it is in the cache.

    Raises
    ------
    CannotBuildError
        When it cannot be made, most often without a network.
    """
    cache = cache or layers.cache_directory()
    recipe = repr((layers.SUITE, PACKAGES, MODULES, FIRST_MODULES, KERNEL_HOOK, INIT))
    hardware = layers.cached_layer(cache, "hardware", recipe, _build_hardware)
    python = layers.cached_layers(cache)[0]
    key = repr((hardware.name, python.name, SIZE, FILES, LINKS, _checkout_digest()))
    image = layers.cached_layer(
        cache, "image", key, lambda path: _build_image(path, [python, hardware])
    )
    return BootFiles(
        hardware / "boot/vmlinuz", hardware / "boot/initial", image / "root.img"
    )


def _build_hardware(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="acoupi-kernel-") as name:
        hook = Path(name) / "kernel"
        hook.write_text(f"#!/bin/sh\n{KERNEL_HOOK}")
        hook.chmod(0o755)
        layers.install_debian(target, PACKAGES, f'--customize-hook={hook} "$1"')
    [modules] = (target / "usr/lib/modules").iterdir()
    wanted = _paths_of_modules(target, modules.name, MODULES)
    for path in (modules / "kernel").rglob("*.ko"):
        if path not in wanted:
            path.unlink()
    layers.run(["chroot", str(target), "/sbin/depmod", modules.name])
    entries: list[tuple[str, int, bytes]] = [
        (name, 0o40755, b"") for name in ("bin", "lib", "dev", "proc", "sys", "system")
    ]
    entries.append(("init", 0o100755, INIT.encode()))
    entries.append(("bin/busybox", 0o100755, (target / "bin/busybox").read_bytes()))
    first = _paths_of_modules(target, modules.name, FIRST_MODULES)
    names = "".join(f"{path.name}\n" for path in first)
    entries.append(("modules", 0o100644, names.encode()))
    entries += [(f"lib/{path.name}", 0o100644, path.read_bytes()) for path in first]
    (target / "boot/initial").write_bytes(gzip.compress(_archive(entries), 1))


def _paths_of_modules(root: Path, version: str, names: Sequence[str]) -> list[Path]:
    """Return the files of modules and what they depend on, in the order of loading."""
    paths: list[Path] = []
    for name in names:
        command = ["/sbin/modprobe", "--set-version", version, "--show-depends", name]
        said = layers.run(["chroot", str(root), *command]).stdout
        for line in said.splitlines():
            # What is part of the kernel itself says "builtin".
            if line.startswith("insmod "):
                path = root / line.split()[1].lstrip("/")
                path = path.parent.resolve() / path.name
                if path not in paths:
                    paths.append(path)
    return paths


def _archive(entries: Sequence[tuple[str, int, bytes]]) -> bytes:
    """Write an archive as the kernel unpacks it (cpio, "newc")."""
    written = bytearray()
    for number, (name, mode, content) in enumerate(
        [*entries, ("TRAILER!!!", 0, b"")], start=1
    ):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name.encode() + b"\0", content):
            written += part
            written += bytes(-len(written) % 4)
    return bytes(written)


def _checkout_digest() -> str:
    digest = hashlib.sha256()
    source = layers.CHECKOUT
    for path in [source / "pyproject.toml", *sorted((source / "acoupi").rglob("*"))]:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(source)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _build_image(target: Path, lowers: Sequence[Path]) -> None:
    target.mkdir()
    top = target / "top"
    top.mkdir()
    layers.install_checkout(top, lowers)
    layers.configure(top, FILES, LINKS)
    script = """
set -eu
mount -t overlay -o "$1" overlay "$2"
truncate --size="$4" "$3"
exec mke2fs -q -t ext4 -L root -E lazy_itable_init=0,nodiscard -d "$2" "$3"
"""
    with layers.work_beside(top) as work:
        root = work / "root"
        root.mkdir()
        layers.run(
            [
                *("unshare", "--mount", "--propagation=private", "sh", "-c", script),
                *("-", layers.overlay_options(lowers, top, work), str(root)),
                *(str(target / "root.img"), SIZE),
            ]
        )
    shutil.rmtree(top)
