# Systems of this flake: the card's, the same once more to compare, and one for QEMU.
{ self, nixpkgs }:
let
  inherit (nixpkgs) lib;
  stateVersion.system.stateVersion = "26.05";

  card =
    module:
    lib.nixosSystem {
      modules = [
        self.nixosModules.sd-image
        stateVersion
        module
      ];
    };

  # The appliance, to try on a laptop. Nothing is set up from a card: log in by key, or on
  # the screen as root, which only a machine for trying things has without a password.
  vm =
    system:
    lib.nixosSystem {
      modules = [
        "${nixpkgs}/nixos/modules/virtualisation/qemu-vm.nix"
        self.nixosModules.appliance
        stateVersion
        {
          nixpkgs.hostPlatform = system;
          networking.hostName = "acoupi-vm";
          # QEMU starts the kernel itself.
          boot.loader.grub.enable = false;
          services.acoupi = {
            enable = true;
            program = "acoupi.programs.activity";
            # There is no microphone: the generated scene of `acoupi run --demo`.
            settings.microphone.source = "signal";
          };
          users.users.root.initialHashedPassword = "";
          services.getty.autologinUser = "root";
          virtualisation = {
            memorySize = 1024;
            graphics = false;
            forwardPorts = [
              {
                from = "host";
                host.port = 2222;
                guest.port = 22;
              }
            ];
          };
        }
      ];
    };
in
{
  sd-image = card { };
  sd-image-again = card {
    sdImage.rootFilesystemCreator = lib.mkForce ../nixos-modules/sd-image/make-ext4-fs-again.nix;
  };
}
// lib.listToAttrs (
  map (system: lib.nameValuePair "vm-${system}" (vm system)) [
    "x86_64-linux"
    "aarch64-linux"
  ]
)
