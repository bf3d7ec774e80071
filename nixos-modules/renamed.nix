# Options that had another name in a former release: they go on working and say so. Each
# rename adds `{ from = [ "services" "acoupi" ... ]; to = [ ... ]; }`, and stays for ever.
{ lib, ... }:
let
  renames = [ ];
in
{
  imports = map (rename: lib.mkRenamedOptionModule rename.from rename.to) renames;
}
