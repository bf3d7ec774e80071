# The sensor's services, as `systemd.services` takes them. Pure. They are those that
# `acoupi start` installs on other systems (acoupi/templates/units).
let
  hardening = import ./hardening.nix;

  # Seconds that a process has to end its running tasks (40), and a few to end itself.
  stopSeconds = 45;

  has = capability: worker: builtins.elem capability worker.capabilities;

  # Samples are lost when this process waits for others; memory is found elsewhere.
  recorder = {
    CPUWeight = 1000;
    IOWeight = 500;
    Nice = -15;
    OOMScoreAdjust = -500;
    RestartSec = 1;
  };

  # The first to go when memory is short: what it did not analyse waits on disk.
  model = {
    CPUWeight = 50;
    MemoryMax = "60%";
    Nice = 5;
    OOMScoreAdjust = 500;
  };

  any = predicate: list: builtins.any predicate list;
in
rec {
  inherit stopSeconds;

  isRecorder = worker: worker.capabilities == [ "audio" ];
  hasAudio = any (has "audio");

  # A broker that is reached without the network.
  isLocalBroker =
    url:
    builtins.isString url
    && any (scheme: builtins.substring 0 (builtins.stringLength scheme) url == scheme) [
      "redis+socket:"
      "unix:"
    ];

  serviceName = worker: "acoupi-worker-${worker.name}";
  serviceNames = workers: map serviceName workers ++ [ "acoupi-beat" ];

  # Common to all: `context` has home, user, group, broker (URL), brokerUnits (units to
  # start after), groups (supplementary), writable (paths), stateDirectory (or null),
  # mounts (paths), credentials (name -> path).
  common = context: {
    partOf = [ "acoupi.target" ];
    wantedBy = [ "acoupi.target" ];
    # Wanted, not required: recording goes on while the broker is restarted.
    wants = [ "acoupi-setup.service" ] ++ context.brokerUnits;
    after = [ "acoupi-setup.service" ] ++ context.brokerUnits;
    unitConfig = {
      RequiresMountsFor = [ context.home ] ++ context.mounts;
      StartLimitIntervalSec = 0;
    };
  };

  # serviceConfig of everything that runs in the home.
  inHome =
    context:
    {
      User = context.user;
      Group = context.group;
      WorkingDirectory = context.home;
      ReadWritePaths = map (path: "-${path}") ([ context.home ] ++ context.writable);
      Slice = "acoupi.slice";
    }
    // (
      if context.stateDirectory == null then
        { }
      else
        {
          StateDirectory = context.stateDirectory;
          StateDirectoryMode = "0750";
        }
    )
    // (
      if context.credentials == { } then
        { }
      else
        {
          LoadCredential = map (name: "${name}:${context.credentials.${name}}") (
            builtins.attrNames context.credentials
          );
        }
    );

  # What runs for ever, and says itself when it is ready and well.
  forever = {
    Type = "notify";
    NotifyAccess = "main";
    WatchdogSec = 60;
    # What hangs gets little time to say where before it is replaced.
    TimeoutAbortSec = 5;
    TimeoutStartSec = 600;
    Restart = "always";
    RestartSec = 5;
    KillMode = "mixed";
    TimeoutStopSec = stopSeconds;
    # Who starts processes without end leaves the others room for theirs.
    TasksMax = 256;
    # A dump of memory would hold the passwords, and fill the card.
    LimitCORE = 0;
  };

  groupsOf = context: set: {
    SupplementaryGroups = (set.SupplementaryGroups or [ ]) ++ context.groups;
  };

  beat =
    context:
    let
      confined = hardening.relaxedBy (if isLocalBroker context.broker then [ ] else [ "network" ]);
    in
    common context
    // {
      description = "Acoustic sensor: schedule";
      serviceConfig =
        confined
        // forever
        // inHome context
        // groupsOf context confined
        // {
          ExecStart = "${context.home}/bin/acoupi-beat.sh";
        };
    };

  worker =
    context: it:
    let
      needsNetwork = has "network" it || !(isLocalBroker context.broker);
      confined = hardening.relaxedBy (
        [
          "generatedCode"
          "procfs"
        ]
        ++ (if has "audio" it then [ "audio" ] else [ ])
        ++ (if needsNetwork then [ "network" ] else [ ])
      );
      shared = common context;
    in
    shared
    // {
      description = "Acoustic sensor: worker ${it.name}";
      # Nothing waits for the network or for a set clock: recording starts without them.
      after =
        shared.after
        ++ (if has "audio" it then [ "sound.target" ] else [ ])
        ++ (if needsNetwork then [ "network.target" ] else [ ]);
      wants = shared.wants ++ (if has "audio" it then [ "sound.target" ] else [ ]);
      serviceConfig =
        confined
        // forever
        // inHome context
        // groupsOf context confined
        // (
          if isRecorder it then
            recorder
          else if has "model" it then
            model
          else
            { }
        )
        // {
          ExecStart = "${context.home}/bin/acoupi-workers-start.sh ${it.name}";
        };
    };

  # All services of a program, by name without suffix.
  services =
    context: workers:
    builtins.listToAttrs (
      map (it: {
        name = serviceName it;
        value = worker context it;
      }) workers
      ++ [
        {
          name = "acoupi-beat";
          value = beat context;
        }
      ]
    );
}
