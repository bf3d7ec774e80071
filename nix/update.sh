#!/usr/bin/env bash
# Writes anew what is made from elsewhere: the catalogue of programs (from the Python
# package) and docs/options.md (from the module; needs a nixpkgs tree, or its lib).
#   NIXPKGS_TREE=DIR nix/update.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
"$bin/acoupi" catalogue >nixos-modules/catalogue.json.new
mv nixos-modules/catalogue.json.new nixos-modules/catalogue.json
if [[ -z ${NIXPKGS_TREE-} ]]; then
  echo "docs/options.md is left as it is: NIXPKGS_TREE names no nixpkgs tree" >&2
  exit
fi
nix-instantiate --eval --strict --json --argstr tree "$NIXPKGS_TREE" \
  -E '{ tree }: import ./nix/options-doc.nix { lib = import (tree + "/lib"); }' |
  "$bin/python" -c 'import json, sys; sys.stdout.write(json.load(sys.stdin))' >docs/options.md.new
mv docs/options.md.new docs/options.md
