# What `nix flake check` proves of the card's image, where it can be built.
{
  self,
  nixpkgs,
  pkgs,
}:
let
  inherit (nixpkgs) lib;
  image = name: self.nixosConfigurations.${name}.config.system.build.sdImage;
in
{
  appliance-scripts =
    pkgs.runCommand "appliance-scripts" { nativeBuildInputs = [ pkgs.shellcheck ]; }
      ''
        shellcheck ${../nixos-modules}/*/*.sh
        touch "$out"
      '';
}
// lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "aarch64-linux") {
  image-is-reproducible = pkgs.runCommand "image-is-reproducible" { } ''
    cmp ${image "sd-image"}/sd-image/*.img.zst ${image "sd-image-again"}/sd-image/*.img.zst
    touch "$out"
  '';
}
