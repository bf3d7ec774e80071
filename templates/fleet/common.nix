# What the sensors share.
{ lib, ... }:
{
  nixpkgs.hostPlatform = lib.mkDefault "aarch64-linux";
  time.timeZone = "Europe/London";

  services.acoupi.enable = true;

  # The public half of your key: without it nobody can log in.
  users.users.admin.openssh.authorizedKeys.keys = [ ];

  # The card that a Raspberry Pi starts from, as the image of acoupi makes it.
  fileSystems."/" = {
    device = "/dev/disk/by-label/NIXOS_SD";
    fsType = "ext4";
  };
  boot.loader.grub.enable = false;
  boot.loader.generic-extlinux-compatible.enable = true;

  system.stateVersion = "26.05";
}
