#!/usr/bin/env bash
# Writes anew what is made from elsewhere: the catalogues of programs (from the Python
# package) and docs/options.md (from the module; needs a nixpkgs tree, or its lib).
#   NIXPKGS_TREE=DIR nix/update.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin

write() { # to the file $1 what the command after it prints, unless it fails
  "${@:2}" >"$1.new"
  mv "$1.new" "$1"
}

options() {
  nix-instantiate --eval --strict --json --argstr tree "$NIXPKGS_TREE" \
    -E '{ tree }: import ./nix/options-doc.nix { lib = import (tree + "/lib"); }' |
    "$bin/python" -c 'import json, sys; sys.stdout.write(json.load(sys.stdin))'
}

write nixos-modules/catalogue.json "$bin/acoupi" catalogue
template=templates/fleet/dusk-chorus
write $template/catalogue.json env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$template \
  "$bin/acoupi" catalogue dusk_chorus
if [[ -z ${NIXPKGS_TREE-} ]]; then
  echo "docs/options.md is left as it is: NIXPKGS_TREE names no nixpkgs tree" >&2
  exit
fi
write docs/options.md options
