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
        appliance = {
          _file = "acoupi#nixosModules.appliance";
          imports = [ ./nixos-modules/appliance ];
        };
        sd-image = {
          _file = "acoupi#nixosModules.sd-image";
          imports = [ ./nixos-modules/sd-image ];
        };
        default = self.nixosModules.acoupi;
      };

      # What `packages.sd-image` and `packages.vm` are built from.
      nixosConfigurations = import ./nix/systems.nix { inherit self nixpkgs; };

      packages = forAllSystems (pkgs: rec {
        # A card for Raspberry Pi: docs/image.md.
        sd-image = self.nixosConfigurations.sd-image.config.system.build.sdImage;
        # The appliance in QEMU: `nix run .#vm`.
        vm = self.nixosConfigurations."vm-${pkgs.stdenv.hostPlatform.system}".config.system.build.vm;
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
          Fill in `common.nix` and the two sensors, then

              nix flake check
              nixos-rebuild switch --flake .#oak --target-host admin@ADDRESS --sudo
        '';
      };

      checks = forAllSystems (
        pkgs:
        import ./nix/checks.nix { inherit self nixpkgs pkgs; }
        // import ./nix/image-checks.nix { inherit self nixpkgs pkgs; }
        // lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") (
          import ./tests/nixos { inherit self pkgs; }
        )
      );
    };
}
