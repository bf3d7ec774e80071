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
  mount = "${pkgs.util-linux}/bin/mount";
  partitionMount = "${utils.escapeSystemdPath cfg.partition}.mount";
  install = "${pkgs.coreutils}/bin/install";
  runtime = "/run/acoupi-provision";

  # What holds where the file says nothing.
  base = pkgs.writeText "acoupi-base.json" (
    builtins.toJSON { inherit (context) settings celery; }
  );

  provision = "${context.python}/bin/acoupi provision ${cfg.partition} --state ${cfg.state}";

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

  confined =
    hardening.relaxedBy [
      "generatedCode"
      "procfs"
      "network"
    ]
    // {
      # Root takes secrets off the card; what is in the home is done as its owner.
      CapabilityBoundingSet = [
        "CAP_CHOWN"
        "CAP_DAC_OVERRIDE"
        "CAP_FOWNER"
        "CAP_SETGID"
        "CAP_SETUID"
      ];
      PrivateUsers = false;
      # Whether the clock is set is asked of the kernel.
      ProtectClock = false;
      # What is seen of sound cards is in /proc.
      PrivateDevices = true;
      ProtectKernelTunables = false;
      SystemCallFilter = [
        "@system-service"
        "@clock"
      ];
      ReadWritePaths = [
        acoupi.home
        cfg.state
        "-${cfg.partition}"
      ];
      Type = "oneshot";
      # Only while files on it are replaced; without a card there is nothing to do.
      ExecStartPre = [ "-+${mount} -o remount,rw ${cfg.partition}" ];
      ExecStopPost = [ "-+${mount} -o remount,ro ${cfg.partition}" ];
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
          "-+${mount} -o remount,ro ${cfg.partition}"
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
