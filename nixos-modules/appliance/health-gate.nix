# A generation in which the sensor does not record gives way to the last that did.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  acoupi = config.services.acoupi;
  cfg = acoupi.appliance.healthGate;
  context = import ../context.nix { inherit config lib pkgs; };
  hardening = import ../lib/hardening.nix;

  # As services do it, whoever calls. A sensor between two recordings, or outside its
  # schedule, is as well as one that records.
  recording = pkgs.writeShellScript "acoupi-is-recording" ''
    export ACOUPI_HOME=${lib.escapeShellArg acoupi.home} PYTHONDONTWRITEBYTECODE=1
    ${pkgs.util-linux}/bin/setpriv --reuid=${acoupi.user} --regid=${acoupi.group} --init-groups \
      ${context.python}/bin/acoupi status --json |
      ${context.python}/bin/python3 -c '
    import json, sys
    text = sys.stdin.read()
    recorder = text and json.loads(text)["recorder"] or {"current": False}
    sys.exit(not (
        recorder["current"]
        and (recorder["capturing"] or recorder["waiting_on_purpose"])
    ))'
  '';

  environment = {
    IS_RECORDING = recording;
    MINUTES = toString cfg.minutes;
    STATE = "/var/lib/acoupi-generations";
    RUNTIME = "/run/acoupi-generations";
  };

  path = [
    config.nix.package
    config.systemd.package
    pkgs.coreutils
  ];

  # A switch must not end the one that switches.
  lasting = {
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig.X-StopOnRemoval = false;
  };

  update = pkgs.writeShellScriptBin "acoupi-update" ''
    if ((EUID != 0)); then
      echo "acoupi-update changes the system: use sudo acoupi-update $*" >&2
      exit 1
    fi
    # A service of its own: a connection that is lost, as by the update, does not end it.
    exec ${config.systemd.package}/bin/systemd-run --quiet --collect --wait --pipe --service-type=exec \
      --unit=acoupi-update --setenv=PATH=${lib.makeBinPath path}:"$PATH" --setenv=STEP="''${STEP-60}" \
      ${
        lib.concatStringsSep " " (
          lib.mapAttrsToList (name: value: "--setenv=${name}=${lib.escapeShellArg value}") environment
        )
      } \
      ${pkgs.bash}/bin/bash ${./update.sh} "$@"
  '';
in
{
  config = lib.mkIf (acoupi.enable && acoupi.appliance.enable && cfg.enable) {
    environment.systemPackages = [ update ];

    # The good one is not to be collected as garbage.
    systemd.tmpfiles.rules = [
      "L+ /nix/var/nix/gcroots/acoupi-good - - - - ${environment.STATE}/good"
    ];

    systemd.services.acoupi-health-gate = lasting // {
      description = "Acoustic sensor: look whether a new generation records";
      inherit environment path;
      serviceConfig = hardening.relaxedBy [ "procfs" ] // {
        Type = "oneshot";
        RuntimeDirectory = "acoupi-generations";
        RuntimeDirectoryPreserve = true;
        StateDirectory = "acoupi-generations";
        ExecStart = "${pkgs.bash}/bin/bash ${./health-gate.sh}";
        TimeoutStartSec = "2min";
        # Only root tells the system what is good; what is asked of the sensor is asked
        # as its user, and its lock is beside what it says.
        CapabilityBoundingSet = [
          "CAP_SETGID"
          "CAP_SETUID"
        ];
        PrivateUsers = false;
        ReadWritePaths = [ "-${acoupi.home}" ];
        SystemCallFilter = [
          "@system-service"
          "~@resources"
        ];
      };
    };
    # Changes the whole system, so it may do all that root may: it runs only for that.
    systemd.services.acoupi-return = lasting // {
      description = "Acoustic sensor: return to the generation that recorded last";
      inherit environment path;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${pkgs.bash}/bin/bash ${./return.sh}";
        TimeoutStartSec = "15min";
      };
    };
    systemd.timers.acoupi-health-gate = {
      description = "Acoustic sensor: look whether a new generation records";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnBootSec = "1min";
        OnUnitInactiveSec = "1min";
        AccuracySec = "5s";
      };
    };
  };
}
