# What the sensors share.
{ lib, ... }:
{
  nixpkgs.hostPlatform = lib.mkDefault "aarch64-linux";
  time.timeZone = "Europe/London";

  services.acoupi = {
    enable = true;
    credentials.mqtt = "/var/lib/secrets/mqtt";
  };

  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  # The public half of your key: without it nobody can log in.
  users.users.root.openssh.authorizedKeys.keys = [ ];

  # The card that a Raspberry Pi starts from.
  fileSystems."/" = {
    device = "/dev/disk/by-label/NIXOS_SD";
    fsType = "ext4";
    options = [ "noatime" ];
  };
  boot.loader.grub.enable = false;
  boot.loader.generic-extlinux-compatible.enable = true;

  system.stateVersion = "26.05";
}
