# What `nix develop` gives: the dependencies of acoupi, its tests and its tools.
{ pkgs }:
let
  acoupi = pkgs.python3Packages.callPackage ./package.nix { };
in
pkgs.mkShell {
  inputsFrom = [ acoupi ];
  packages = [
    pkgs.espeak-ng
    pkgs.mosquitto
    pkgs.mypy
    pkgs.nixfmt
    pkgs.redis
    pkgs.ruff
    pkgs.shellcheck
  ];
}
