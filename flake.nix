{
  description = "acoupi: turns a Raspberry Pi and a microphone into an acoustic sensor";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = import ./nix/overlay.nix;

      nixosModules = {
        # Sets, not paths, so that errors name this flake and older Nix takes them.
        acoupi = {
          _file = "acoupi#nixosModules.acoupi";
          imports = [ ./nixos-modules ];
        };
        default = self.nixosModules.acoupi;
      };

      packages = forAllSystems (pkgs: rec {
        acoupi = pkgs.python3Packages.toPythonApplication (
          pkgs.python3Packages.callPackage ./nix/package.nix { }
        );
        options-doc = pkgs.writeText "options.md" (import ./nix/options-doc.nix { inherit lib; });
        default = acoupi;
      });

      apps = forAllSystems (pkgs: rec {
        # `nix run`: a sensor here, without any setup.
        demo = {
          type = "app";
          program = lib.getExe (
            pkgs.writeShellApplication {
              name = "acoupi-demo";
              runtimeInputs = [
                self.packages.${pkgs.stdenv.hostPlatform.system}.acoupi
                pkgs.redis
              ];
              text = ''exec acoupi run --demo "$@"'';
            }
          );
          meta.description = "Run a sensor here, without any setup";
        };
        default = demo;
      });

      devShells = forAllSystems (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      templates.default = {
        path = ./templates/fleet;
        description = "A fleet of sensors: two machines and a program of their own";
        welcomeText = ''
          Fill in the two sensors in flake.nix, then
            nix flake check
            nixos-rebuild switch --flake .#oak --target-host root@oak.local
        '';
      };

      checks = forAllSystems (pkgs: import ./nix/checks.nix { inherit self nixpkgs pkgs; });
    };
}
