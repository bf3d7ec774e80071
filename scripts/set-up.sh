#!/usr/bin/env bash
# Sets up a machine to run or to test acoupi: system packages (apt) and a virtual environment.
#   scripts/set-up.sh run|test|vm
# For vm it installs what test does, and virtual machines.
# Does nothing that is done already. Without apt or root it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:?run, test or vm}
venv=${VENV:-.venv}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
[ -t 2 ] || say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# --- system packages: a command or a file that shows each is there, and the package that brings it
needed=(
  "lib:libportaudio.so.2 libportaudio2"
  "lib:libasound.so.2 libasound2"
)
if [ "$purpose" != run ]; then
  needed+=(
    "cmd:redis-server redis-server"
    "cmd:mosquitto mosquitto"
    "cmd:pulseaudio pulseaudio"
    "cmd:pactl pulseaudio-utils"
    "glob:/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so libasound2-plugins"
    "cmd:shellcheck shellcheck"
    "cmd:espeak-ng espeak-ng"
    "cmd:systemd-analyze systemd"
    "cmd:openssl openssl"
    "cmd:faketime faketime"
    "cmd:ss iproute2"
    "cmd:mmdebstrap mmdebstrap"
    "cmd:systemd-nspawn systemd-container"
    "cmd:nix-instantiate nix-bin"
    "cmd:sfdisk fdisk"
    "glob:/usr/lib/fiu/fiu_posix_preload.so libfiu0"
  )
fi
if [ "$purpose" = vm ]; then
  needed+=(
    "cmd:qemu-system-x86_64 qemu-system-x86"
    "cmd:qemu-img qemu-utils"
    "cmd:debugfs e2fsprogs"
    "cmd:mkfs.vfat dosfstools"
  )
fi

present() {
  local kind=${1%%:*} what=${1#*:}
  case $kind in
    cmd) command -v "$what" >/dev/null 2>&1 || [ -x "/usr/sbin/$what" ] ;;
    # Not grep -q: it ends at the first match, ldconfig then by SIGPIPE, and pipefail takes that for absence.
    lib) PATH=$PATH:/sbin ldconfig -p 2>/dev/null | grep -F "$what" >/dev/null ;;
    glob) compgen -G "$what" >/dev/null ;;
  esac
}

python_ok() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null; }
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && python_ok "$candidate"; then
      python=$candidate
      break
    fi
  done
fi
missing=()
[ -n "$python" ] || missing+=(python3)
for entry in "${needed[@]}"; do
  present "${entry% *}" || missing+=("${entry##* }")
done
# Debian's python3 comes without the means to make a virtual environment.
if [ ! -x "$venv/bin/python" ] && ! "${python:-python3}" -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
  run_as_root=()
  if [ "$(id -u)" -ne 0 ]; then run_as_root=(sudo -n); fi
  if command -v apt-get >/dev/null 2>&1 && "${run_as_root[@]}" true 2>/dev/null; then
    say "installing ${missing[*]}"
    log=$(mktemp)
    # The services of these packages are not wanted, only their programs: policy-rc.d is Debian's
    # way to say so, but ours is not the only software here, so they are merely not enabled.
    if ! { "${run_as_root[@]}" apt-get update -qq &&
      "${run_as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq \
        --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      if [ "$purpose" = run ]; then fail "apt-get could not install ${missing[*]} (above)"; fi
      say "apt-get could not install ${missing[*]}: the tests that need them will be skipped"
    fi
    rm -f "$log"
  else
    hint="sudo apt-get install --no-install-recommends ${missing[*]}"
    if [ "$purpose" != run ] && [ -n "$python" ] && [[ " ${missing[*]} " != *" python3-venv "* ]]; then
      say "not installed: ${missing[*]}; the tests that need them will be skipped. To install: $hint"
    else
      fail "please install: ${missing[*]}
  on Debian or Raspberry Pi OS: $hint"
    fi
  fi
fi
if [ -z "$python" ]; then
  python=python3
  python_ok "$python" || fail "Python 3.11 or newer is needed; found $("$python" --version 2>&1 || echo none)"
fi

# --- the virtual environment; rebuilt when the project's requirements change
extras=embedded
[ "$purpose" = run ] || extras=dev
wanted=$(sha256sum pyproject.toml | cut -c1-16)
# What "dev" installs contains what "run" needs.
have=$(cat "$venv/.acoupi-$extras" "$venv/.acoupi-dev" 2>/dev/null | head -n 1 || true)
if [ "$have" != "$wanted" ]; then
  if [ ! -x "$venv/bin/python" ]; then
    say "making the virtual environment $venv with $("$python" --version)"
    "$python" -m venv "$venv"
  fi
  say "installing acoupi and what it needs into $venv (a minute or two)"
  # Says where it stands on a terminal; a log keeps the rest for when it fails.
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check -q -e ".[$extras]" 2>"$venv/pip.log"; then
    tail -n 20 "$venv/pip.log" >&2
    fail "pip could not install acoupi (above)"
  fi
  echo "$wanted" >"$venv/.acoupi-$extras"
fi
