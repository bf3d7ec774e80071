# The services: one process each, in a slice of their own, under one target.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  context = import ./context.nix { inherit config lib pkgs; };
  inherit (context) cfg units;
  services = units.services context.unitContext context.workers;
  hasAudio = units.hasAudio context.workers;
in
{
  config = lib.mkIf cfg.enable {
    systemd = {
      targets.acoupi = {
        # What runs on a sensor that is set up by itself is not known here.
        description =
          "Acoustic sensor" + lib.optionalString (!cfg.mutableConfiguration) " (${cfg.program})";
        wantedBy = [ "multi-user.target" ];
      };

      slices.acoupi = {
        description = "Acoustic sensor";
        sliceConfig = {
          # The rest of the system stays usable; within, the model goes first.
          MemoryHigh = "75%";
          MemoryMax = "85%";
          TasksMax = 512;
        };
      };

      services =
        lib.mapAttrs (
          _: service:
          service
          // {
            path = [ pkgs.bash ];
            # A switch restarts it when the rest is done: the shortest gap in recording.
            stopIfChanged = false;
            # What is linked into the home is read at the start.
            restartTriggers = lib.optional (!cfg.mutableConfiguration) cfg.rendered;
          }
        ) services
        // lib.optionalAttrs cfg.redis.createLocally {
          redis-acoupi = {
            unitConfig.StartLimitIntervalSec = 0;
            serviceConfig = {
              Restart = "always";
              RestartSec = 1;
              OOMScoreAdjust = -200;
              MemoryMax = "128M";
              Slice = "acoupi.slice";
              IPAddressDeny = "any";
              PrivateNetwork = true;
              ProtectProc = "invisible";
              ProcSubset = "pid";
              RestrictAddressFamilies = lib.mkForce [ "AF_UNIX" ];
            };
          };
        };
    };

    services.redis.servers.acoupi = lib.mkIf cfg.redis.createLocally {
      enable = true;
      port = 0;
      unixSocket = context.redisSocket;
      unixSocketPerm = 660;
      # The truth is in the sensor's database: tasks are made again from it.
      save = [ ];
      settings = {
        maxmemory = "64mb";
        maxmemory-policy = "noeviction";
      };
    };

    services.acoupi.celery.broker_url = lib.mkIf cfg.redis.createLocally (
      lib.mkDefault "redis+socket://${context.redisSocket}"
    );

    # The group of sound cards is resolved when a service starts: before any is plugged in.
    boot.kernelModules = lib.mkIf hasAudio [ "snd-usb-audio" ];

    users.users = lib.mkIf (cfg.user == "acoupi") {
      acoupi = {
        isSystemUser = true;
        inherit (cfg) group home;
        description = "Acoustic sensor";
        extraGroups = lib.optional hasAudio "audio";
      };
    };
    users.groups = lib.mkIf (cfg.group == "acoupi") { acoupi = { }; };
  };
}
