{
  description = "A fleet of acoustic sensors";

  inputs = {
    # Where you got acoupi from: github:OWNER/acoupi, or a clone's path.
    acoupi.url = "github:acoupi/acoupi";
    nixpkgs.follows = "acoupi/nixpkgs";
  };

  outputs =
    { acoupi, nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      sensor =
        name: settings:
        lib.nixosSystem {
          modules = [
            acoupi.nixosModules.appliance
            ./common.nix
            settings
            { networking.hostName = name; }
          ];
        };
      sensors = lib.mapAttrs sensor {
        oak = ./sensors/oak.nix;
        pond = ./sensors/pond.nix;
      };
    in
    {
      nixosConfigurations = sensors;

      # `nix flake check` validates every sensor's settings before any is touched.
      checks.x86_64-linux = lib.mapAttrs (
        _: sensor:
        (sensor.extendModules {
          modules = [ { nixpkgs.hostPlatform = lib.mkForce "x86_64-linux"; } ];
        }).config.services.acoupi.rendered
      ) sensors;
    };
}
