# What the sensor's processes may reach: one set for all of them, and relaxations with a
# name. Pure. Exposures are those of `systemd-analyze security`; a test holds them down.
rec {
  base = {
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    DevicePolicy = "closed";
    IPAddressDeny = "any";
    KeyringMode = "private";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateMounts = true;
    PrivateNetwork = true;
    PrivateTmp = true;
    PrivateUsers = true;
    ProcSubset = "pid";
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RestrictAddressFamilies = [ "AF_UNIX" ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    # Refused calls fail; they do not kill.
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
    UMask = "0077";
  };

  relaxations = {
    # Sound cards: `char-alsa` covers those that are plugged in later.
    audio = {
      DeviceAllow = [ "char-alsa rw" ];
      PrivateDevices = false;
      SupplementaryGroups = [ "audio" ];
    };
    # Model runtimes and the audio library's callbacks write code to memory.
    generatedCode.MemoryDenyWriteExecute = false;
    # Messengers, and brokers on other machines.
    network = {
      IPAddressDeny = [ ];
      PrivateNetwork = false;
      RestrictAddressFamilies = [
        "AF_UNIX"
        "AF_INET"
        "AF_INET6"
        "AF_NETLINK"
      ];
    };
    # The identity of boot and sound cards, memory and load are read from /proc.
    procfs.ProcSubset = "all";
  };

  # names of relaxations -> serviceConfig
  relaxedBy = builtins.foldl' (set: name: set // relaxations.${name}) base;
}
