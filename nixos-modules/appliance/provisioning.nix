# `acoupi.toml`: read before the network and the sensor are started, at each boot.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  acoupi = config.services.acoupi;
  cfg = acoupi.appliance.provisioning;
  context = import ../context.nix { inherit config lib pkgs; };
  hardening = import ../lib/hardening.nix;
  # In the system's mounts: the services have their own, in which it would not be seen.
  remount =
    how:
    "${pkgs.util-linux}/bin/nsenter --target=1 --mount ${pkgs.util-linux}/bin/mount -o remount,${how} ${cfg.partition}";
  partitionMount = "${utils.escapeSystemdPath cfg.partition}.mount";
  install = "${pkgs.coreutils}/bin/install";
  runtime = "/run/acoupi-provision";

  # What holds where the file says nothing.
  base = pkgs.writeText "acoupi-base.json" (builtins.toJSON { inherit (context) settings celery; });

  # What the preparation of the card says (sd-image/prepare-card.sh).
  provision = "${context.python}/bin/acoupi provision ${cfg.partition} --state ${cfg.state} --also /run/acoupi-card.txt";

  shared = {
    environment = {
      ACOUPI_HOME = acoupi.home;
      PYTHONDONTWRITEBYTECODE = "1";
    };
    unitConfig.RequiresMountsFor = [
      acoupi.home
      cfg.state
    ];
  };

  # As little as both services need: they read the home, which is its owner's.
  confined = hardening.relaxedBy [ "procfs" ] // {
    CapabilityBoundingSet = [ "CAP_DAC_READ_SEARCH" ];
    PrivateUsers = false;
    SystemCallFilter = [
      "@system-service"
      "~@resources"
    ];
    # At the first boot none of them is there; they are made before the program runs.
    ReadWritePaths = map (path: "-${path}") [
      acoupi.home
      cfg.state
      cfg.partition
    ];
    Type = "oneshot";
    # Only while files on it are replaced; without a card there is nothing to do.
    ExecStartPre = [ "-+${remount "rw"}" ];
    ExecStopPost = [ "-+${remount "ro"}" ];
  };
in
{
  config = lib.mkIf (acoupi.enable && acoupi.appliance.enable && cfg.enable) {
    assertions = [
      {
        assertion = config.fileSystems ? ${cfg.partition};
        message = ''
          services.acoupi.appliance.provisioning.partition: ${cfg.partition} is no file system of this machine.
          Name the mount point of the partition that holds acoupi.toml, or set services.acoupi.appliance.provisioning.enable = false.
        '';
      }
      {
        assertion = acoupi.mutableConfiguration;
        message = ''
          services.acoupi.appliance.provisioning sets the sensor up from a card, which services.acoupi.mutableConfiguration = false forbids.
          Set it to true, or provisioning.enable to false.
        '';
      }
    ];

    services.acoupi.mutableConfiguration = lib.mkDefault true;
    # Those that NixOS sets would win over the card's.
    time.timeZone = lib.mkDefault null;
    services.openssh.authorizedKeysFiles = [ "${runtime}/keys/%u" ];
    networking.networkmanager.enable = lib.mkDefault true;

    systemd.services.acoupi-provision = shared // {
      description = "Acoustic sensor: follow acoupi.toml";
      wantedBy = [ "multi-user.target" ];
      # The card is waited for, not required.
      wants = [
        "network-pre.target"
        partitionMount
      ];
      after = [
        partitionMount
        "local-fs.target"
        "systemd-tmpfiles-setup.service"
      ];
      before = [
        "network-pre.target"
        "NetworkManager.service"
        "sshd.service"
        "acoupi-setup.service"
        "acoupi-deployment.service"
        "acoupi.target"
      ]
      ++ map (name: "${name}.service") (context.units.serviceNames context.workers);
      serviceConfig = confined // {
        # Root takes secrets off the card; what is in the home is done as its owner, by
        # code of the program, whose libraries may make code.
        CapabilityBoundingSet = [
          "CAP_DAC_READ_SEARCH"
          "CAP_SETGID"
          "CAP_SETUID"
        ];
        MemoryDenyWriteExecute = false;
        RemainAfterExit = true;
        # Made here, not by tmpfiles: then the partition of the home is mounted.
        ExecStartPre = confined.ExecStartPre ++ [
          "+${install} -d -m 0700 ${cfg.state}"
          "+${install} -d -m 0750 -o ${acoupi.user} -g ${acoupi.group} ${acoupi.home}"
          "-+${pkgs.bash}/bin/bash ${./system-files.sh} name"
        ];
        # Whatever comes of it, the sensor starts.
        ExecStart = [
          "-${provision} --base ${base}"
          "-+${remount "ro"}"
          "-+${pkgs.bash}/bin/bash ${./system-files.sh} all"
        ];
        TimeoutStartSec = 180;
      };
      environment = shared.environment // {
        SYSTEM_FILES = "${cfg.state}/system";
        RUNTIME = runtime;
        ADMIN = acoupi.appliance.adminUser;
      };
      path = [
        pkgs.coreutils
        pkgs.iw
      ];
    };

    # Again, when addresses and the microphone are known.
    systemd.services.acoupi-report = shared // {
      description = "Acoustic sensor: report on the card";
      after = [ "acoupi-provision.service" ];
      serviceConfig = confined // {
        ExecStart = "-${provision} --report";
        # The addresses are those of the system; nothing is sent.
        PrivateNetwork = false;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_NETLINK"
        ];
        TimeoutStartSec = 120;
      };
    };
    systemd.timers.acoupi-report = {
      description = "Acoustic sensor: report on the card, once a boot";
      wantedBy = [ "timers.target" ];
      timerConfig.OnBootSec = "90s";
    };
  };
}
