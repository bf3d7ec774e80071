# The services that the module makes of some settings, on a machine without nixpkgs: its
# packages are Debian's, below /usr. tests/e2e boots what comes of it.
#   nix-instantiate --eval --strict --json --arg settings '{ }' system.nix
{
  settings ? { },
  modules ? [ ],
  appliance ? false,
  python ? "/opt/acoupi",
}:
let
  lib = import ./lib.nix;
  debian = "/usr";

  pkgs = {
    bash = debian;
    coreutils = debian;
    e2fsprogs = debian;
    findutils = debian;
    gnugrep = debian;
    iw = debian;
    networkmanager = debian;
    util-linux = debian;
    python3Packages.callPackage = _: _: { pythonModule.withPackages = _: python; };
    stdenv = {
      buildPlatform.canExecute = _: true;
      hostPlatform = null;
    };
    writeText = builtins.toFile;
    writeShellScript = name: text: builtins.toFile name "#!/bin/bash\n${text}";
    writeShellScriptBin = name: text: {
      inherit name;
      outPath = builtins.toFile name "#!/bin/bash\n${text}";
    };
    # Run by the test, before the machine boots.
    runCommand = name: _: text: {
      outPath = "/built/${name}";
      builder = builtins.toFile "${name}.sh" text;
    };
  };

  utils.escapeSystemdPath = path: builtins.replaceStrings [ "/" ] [ "-" ] (lib.removePrefix "/" path);

  config = lib.evaluate { inherit pkgs utils; } (
    [
      (if appliance then ../../../nixos-modules/appliance else ../../../nixos-modules)
      {
        nix.package = debian;
        systemd.package = debian;
        time.timeZone = lib.mkDefault null;
        services.acoupi = {
          enable = true;
        }
        // settings;
      }
    ]
    ++ modules
  );

  unit = it: removeAttrs it [ "restartTriggers" ];
in
{
  services = builtins.mapAttrs (_: unit) config.systemd.services;
  timers = config.systemd.timers or { };
  targets = config.systemd.targets;
  slices = config.systemd.slices;
  mounts = config.systemd.mounts;
  etc = builtins.mapAttrs (_: it: it.text) (config.environment.etc or { });
  commands = map (it: {
    inherit (it) name;
    path = "${it}";
  }) (lib.filter builtins.isAttrs config.environment.systemPackages);
  builds."${config.services.acoupi.rendered}" = config.services.acoupi.rendered.builder;
  redis = config.services.redis.servers or { };
  refused = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
  inherit (config.services.acoupi) home user group;
}
