# The appliance and the card, to evaluate with a nixpkgs tree.
{ tree }:
let
  lib = import (tree + "/lib");

  system =
    name: modules:
    (import (tree + "/nixos/lib/eval-config.nix") {
      pkgs = import tree { system = name; };
      inherit lib;
      system = null;
      modules = modules ++ [ { system.stateVersion = lib.trivial.release; } ];
    }).config;

  appliance =
    settings:
    system "x86_64-linux" [
      ../../../nixos-modules/appliance
      {
        boot.isContainer = true;
        fileSystems."/" = {
          device = "/dev/disk/by-label/root";
          fsType = "ext4";
        };
      }
      settings
    ];

  card = {
    fileSystems."/boot/firmware" = {
      device = "/dev/disk/by-label/FIRMWARE";
      fsType = "vfat";
    };
  };

  # Trees older than these options get them, so that the rest is evaluated.
  older =
    { lib, modulesPath, ... }:
    let
      stock = builtins.readFile "${modulesPath}/installer/sd-card/sd-image.nix";
    in
    {
      options = lib.optionalAttrs (!lib.hasInfix "rootFilesystemCreator" stock) {
        image.baseName = lib.mkOption { type = lib.types.str; };
        sdImage.rootFilesystemCreator = lib.mkOption { type = lib.types.path; };
      };
    };

  machines = {
    plain = appliance { services.acoupi.enable = true; };
    provisioned = appliance {
      imports = [ card ];
      services.acoupi = {
        enable = true;
        appliance.provisioning.enable = true;
      };
    };
    without-card = appliance {
      services.acoupi = {
        enable = true;
        appliance.provisioning.enable = true;
      };
    };
    immutable = appliance {
      imports = [ card ];
      services.acoupi = {
        enable = true;
        mutableConfiguration = false;
        appliance.provisioning.enable = true;
      };
    };
    off = appliance {
      services.acoupi = {
        enable = true;
        appliance.enable = false;
      };
    };
    image = system "aarch64-linux" [
      ../../../nixos-modules/sd-image
      older
    ];
  };

  ours = lib.filterAttrs (name: _: lib.hasPrefix "acoupi" name);
  look = config: {
    failures = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
    services = lib.mapAttrs (_: it: {
      inherit (it)
        after
        before
        wants
        wantedBy
        ;
      conditions = builtins.unsafeDiscardStringContext (toString (it.serviceConfig.ExecCondition or ""));
      capabilities = it.serviceConfig.CapabilityBoundingSet or null;
    }) (ours config.systemd.services);
    timers = lib.attrNames (ours config.systemd.timers);
    fileSystems = lib.mapAttrs (_: it: it.options) config.fileSystems;
    etc = lib.mapAttrs (_: it: it.text) (
      lib.filterAttrs (name: _: lib.hasSuffix "/50-acoupi.conf" name) config.environment.etc
    );
    ssh = {
      inherit (config.services.openssh.settings) PasswordAuthentication KbdInteractiveAuthentication;
    };
    ports = { inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts; };
    inherit (config.services.acoupi) home;
    hostName = config.networking.hostName;
    timeZone = config.time.timeZone;
  };
in
{
  looks = lib.mapAttrs (_: look) machines;
  systems = lib.mapAttrs (
    _: it: builtins.unsafeDiscardStringContext it.system.build.toplevel.drvPath
  ) machines;
  image = builtins.unsafeDiscardStringContext machines.image.system.build.sdImage.drvPath;
  firmware = builtins.unsafeDiscardStringContext machines.image.sdImage.populateFirmwareCommands;
}
