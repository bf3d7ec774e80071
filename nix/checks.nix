# What `nix flake check` proves: the package and its tests, every program's home and units,
# what must be refused, that what is checked in is current, and the formatting.
{
  self,
  nixpkgs,
  pkgs,
}:
let
  inherit (nixpkgs) lib;
  acoupi = pkgs.python3Packages.callPackage ./package.nix { };
  python = pkgs.python3.withPackages (_: [ acoupi ]);
  catalogue = (import ../nixos-modules/lib/catalogue.nix).read ../nixos-modules/catalogue.json;

  sensor =
    settings:
    (nixpkgs.lib.nixosSystem {
      modules = [
        self.nixosModules.acoupi
        {
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          boot.isContainer = true;
          system.stateVersion = "26.05";
          services.acoupi = {
            enable = true;
          }
          // settings;
        }
      ];
    }).config;

  # Every program that ships, by name.
  sensors = lib.mapAttrs' (
    module: _:
    lib.nameValuePair (lib.last (lib.splitString "." module)) (sensor {
      program = module;
    })
  ) catalogue.programs;

  units =
    config:
    pkgs.linkFarm "acoupi-units" (
      map (name: {
        inherit name;
        path = "${config.systemd.units.${name}.unit}/${name}";
      }) (lib.filter isOurs (lib.attrNames config.systemd.units))
    );
  isOurs = unit: lib.hasPrefix "acoupi-" unit || unit == "redis-acoupi.service";

  failed = config: lib.filter (it: !it.assertion) config.assertions;
  refused = {
    an-unknown-program = {
      program = "acoupi.programs.defalt";
    };
    half-a-place = {
      deployment = {
        name = "nowhere";
        latitude = 51.5;
      };
    };
    a-secret-in-the-store = {
      program = "acoupi.programs.connected";
      settings.messaging.mqtt = {
        host = "mqtt.example.org";
        password = "plain";
      };
    };
    a-secret-that-there-is-not = {
      program = "acoupi.programs.connected";
      settings.messaging.mqtt = {
        host = "mqtt.example.org";
        password._secret = "absent";
      };
    };
    no-broker = {
      redis.createLocally = false;
    };
  };
  accepted = lib.attrNames (lib.filterAttrs (_: it: failed (sensor it) == [ ]) refused);

  # A build that must fail, with what it must say.
  fails =
    name: drv: message:
    pkgs.runCommand name { failed = pkgs.testers.testBuildFailure drv; } ''
      grep -F ${lib.escapeShellArg message} "$failed/testBuildFailure.log"
      touch "$out"
    '';
in
{
  package = acoupi;

  options-doc-is-current = pkgs.runCommand "options-doc-is-current" { } ''
    diff -u ${../docs/options.md} ${
      pkgs.writeText "options.md" (import ./options-doc.nix { inherit lib; })
    } || { echo "docs/options.md is out of date: nix/update.sh"; exit 1; }
    touch "$out"
  '';

  catalogue-is-current = pkgs.runCommand "catalogue-is-current" { nativeBuildInputs = [ python ]; } ''
    export HOME="$TMPDIR"
    acoupi catalogue >now.json
    python3 ${../nixos-modules/compare-catalogues.py} ${../nixos-modules/catalogue.json} now.json
    touch "$out"
  '';

  # Confined, by systemd's own count: 0.6 for the recorder, 1.5 for the others.
  units-are-confined =
    pkgs.runCommand "units-are-confined" { nativeBuildInputs = [ pkgs.systemd ]; }
      ''
        cp -rL ${pkgs.linkFarm "acoupi-programs" (lib.mapAttrs (_: units) sensors)} programs
        chmod -R +w programs
        for unit in programs/*/*.service; do
          threshold=15
          [[ "$unit" != */acoupi-worker-recording.service ]] || threshold=6
          systemd-analyze security --no-pager --offline=true --threshold=$threshold "$unit"
        done
        touch "$out"
      '';

  what-is-wrong-is-refused =
    if accepted == [ ] then
      pkgs.emptyFile
    else
      throw "these configurations must be refused: ${lib.concatStringsSep ", " accepted}";

  a-misspelt-setting-fails-the-build =
    fails "a-misspelt-setting-fails-the-build"
      (sensor { settings.microphone.sampelrate = 48000; }).services.acoupi.rendered
      "services.acoupi.settings.microphone.sampelrate: no such setting; did you mean 'samplerate'?";

  formatting = pkgs.runCommand "formatting" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    cd ${self}
    find . -name '*.nix' -print0 | xargs -0 nixfmt --check
    touch "$out"
  '';

  nix-lint =
    pkgs.runCommand "nix-lint"
      {
        nativeBuildInputs = [
          pkgs.deadnix
          pkgs.statix
        ];
      }
      ''
        cd ${self}
        deadnix --fail .
        statix check .
        touch "$out"
      '';
}
// lib.mapAttrs' (
  name: config: lib.nameValuePair "home-of-${name}" config.services.acoupi.rendered
) sensors
