# The image for a card: flash it, write acoupi.toml, put it in, switch on. Imports
# nixpkgs' generic image for Raspberry Pi, which covers the boards.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
{
  imports = [
    "${modulesPath}/installer/sd-card/sd-image-aarch64.nix"
    ../appliance
  ];

  # An installer's tools, among them those of file systems that no sensor has.
  disabledModules = [ "profiles/base.nix" ];

  services.acoupi = {
    enable = lib.mkDefault true;
    # On the partition that grows; the card and `acoupi setup` choose the program.
    home = lib.mkDefault "/data/acoupi";
    mutableConfiguration = lib.mkDefault true;
    appliance.provisioning = {
      enable = lib.mkDefault true;
      state = lib.mkDefault "/var/lib/acoupi-provision";
    };
  };

  sdImage = {
    # Equal input gives equal bytes; the stock one has random identifiers and times.
    rootFilesystemCreator = ./make-ext4-fs.nix;
    rootPartitionUUID = "6f7ad9a4-5b0c-4b6e-8c0a-3f0a6c0e1b01";
    # Room for the card's files and for firmware of later years.
    firmwareSize = 256;
    # prepare-card.sh does it: the rest of the card is for data.
    expandOnBoot = false;
    compressImage = true;
    populateFirmwareCommands = lib.mkAfter ''
      sed 's/$/\r/' ${./acoupi.toml} >firmware/acoupi.toml
      cp firmware/acoupi.toml firmware/acoupi-template.toml
    '';
  };
  image.baseName = lib.mkDefault "acoupi-sensor-${config.system.nixos.release}";

  fileSystems = {
    # Mounted for reading, and not waited for: a card with a broken one still records.
    "/boot/firmware".options = lib.mkForce [
      "ro"
      "noatime"
      "nofail"
      "fmask=0133"
      "dmask=0022"
      "x-systemd.device-timeout=30s"
    ];
  };

  # Mounts it, too: a mount that can fail would keep the sensor from starting.
  systemd.services.acoupi-card = {
    description = "Acoustic sensor: use the whole card";
    unitConfig.DefaultDependencies = false;
    wantedBy = [ "local-fs.target" ];
    before = [
      "local-fs.target"
      "shutdown.target"
    ];
    after = [ "systemd-remount-fs.service" ];
    conflicts = [ "shutdown.target" ];
    path = [
      pkgs.coreutils
      pkgs.e2fsprogs
      pkgs.gnused
      pkgs.util-linux
      config.systemd.package
    ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "${pkgs.bash}/bin/bash ${./prepare-card.sh}";
      TimeoutStartSec = "15min";
    };
  };

  # The store that was copied into the image is made known, once.
  boot.postBootCommands = lib.mkBefore ''
    for registration in /nix-path-registration /nix/nix-path-registration; do
      if [ -f "$registration" ]; then
        ${config.nix.package.out}/bin/nix-store --load-db <"$registration"
        touch /etc/NIXOS
        ${config.nix.package.out}/bin/nix-env -p /nix/var/nix/profiles/system --set /run/current-system
        rm -f "$registration"
      fi
    done
  '';

  # Boards with 512 MB: nothing of what an installer needs.
  boot.supportedFilesystems = lib.mkForce [
    "ext4"
    "vfat"
  ];
  boot.consoleLogLevel = lib.mkForce 4;
  hardware.enableRedistributableFirmware = true;
  environment.defaultPackages = lib.mkForce [ ];
  nixpkgs.hostPlatform = lib.mkDefault "aarch64-linux";
}
