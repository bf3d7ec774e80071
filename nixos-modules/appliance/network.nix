# Networks: a cable or known Wi-Fi; without either, the sensor's own.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.acoupi.appliance;
  hardening = import ../lib/hardening.nix;
in
{
  config = lib.mkIf (cfg.enable && cfg.provisioning.enable) {
    networking = {
      networkmanager = {
        enable = true;
        wifi.powersave = false;
        # Those for VPNs bring a desktop's libraries along.
        plugins = lib.mkForce [ ];
      };
      # Set from the card; a name that NixOS sets would win.
      hostName = lib.mkDefault "";
      # Phones that join the sensor's own network ask for an address.
      firewall.interfaces.wlan0.allowedUDPPorts = [ 67 ];
    };

    # What is not there yet is no reason to wait.
    systemd.services.NetworkManager-wait-online.enable = lib.mkDefault false;

    systemd.services.acoupi-hotspot = {
      description = "Acoustic sensor: its own network, when there is no other";
      after = [ "NetworkManager.service" ];
      path = [
        pkgs.iw
        pkgs.networkmanager
      ];
      environment.STATE = "/run/acoupi-hotspot";
      serviceConfig = hardening.base // {
        Type = "oneshot";
        # NetworkManager is asked through its socket, the radio through the kernel's.
        PrivateNetwork = false;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_NETLINK"
        ];
        RuntimeDirectory = "acoupi-hotspot";
        RuntimeDirectoryPreserve = true;
        ExecStart = "${pkgs.bash}/bin/bash ${./hotspot.sh}";
        TimeoutStartSec = 90;
      };
    };
    systemd.timers.acoupi-hotspot = {
      description = "Acoustic sensor: look whether there is a network";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnBootSec = "1min";
        OnUnitInactiveSec = "1min";
        AccuracySec = "5s";
      };
    };
  };
}
