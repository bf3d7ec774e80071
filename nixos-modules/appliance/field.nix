# The system around the sensor: little is written, nothing fills up, nothing hangs.
#
# Files in `*.conf.d` rather than options where nixpkgs renamed the options lately.
{ config, lib, ... }:
let
  cfg = config.services.acoupi.appliance;
in
{
  config = lib.mkIf cfg.enable {
    # Logs are in memory and bounded; a card wears out by being written to.
    environment.etc."systemd/journald.conf.d/50-acoupi.conf".text = ''
      [Journal]
      Storage=volatile
      RuntimeMaxUse=32M
      RateLimitIntervalSec=30s
      RateLimitBurst=1000
      ForwardToSyslog=no
    '';

    # The board's own watchdog: it resets a system that hangs.
    environment.etc."systemd/system.conf.d/50-acoupi.conf".text = ''
      [Manager]
      RuntimeWatchdogSec=15s
      RebootWatchdogSec=2min
    '';

    # A board without a clock of its own goes on from the time that was saved last, and
    # never back. Recording does not wait for the right time.
    services.timesyncd.enable = lib.mkDefault true;
    environment.etc."systemd/timesyncd.conf.d/50-acoupi.conf".text = ''
      [Time]
      SaveIntervalSec=5min
    '';

    fileSystems."/".options = [ "noatime" ];
    boot.tmp.useTmpfs = lib.mkDefault true;
    zramSwap.enable = lib.mkDefault true;
    boot.kernel.sysctl = {
      "kernel.panic" = 10;
      "kernel.panic_on_oops" = 1;
    };

    # By key only, and nothing else listens.
    services.openssh = {
      enable = true;
      openFirewall = true;
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
      };
    };
    networking.firewall.enable = true;
    users.mutableUsers = false;
    users.users.${cfg.adminUser} = {
      isNormalUser = true;
      description = "Who looks after the sensor";
      extraGroups = [
        "wheel"
        "systemd-journal"
      ];
    };
    security.sudo.wheelNeedsPassword = false;
    # Whoever has no key may have none on purpose; the screen is no way in.
    users.allowNoPasswordLogin = true;

    documentation.enable = lib.mkDefault false;
    services.udisks2.enable = lib.mkDefault false;
    # Updates are sent by the one who logs in.
    nix.settings.trusted-users = [ "@wheel" ];
    nix.gc = {
      automatic = lib.mkDefault true;
      options = lib.mkDefault "--delete-older-than 60d";
    };
  };
}
