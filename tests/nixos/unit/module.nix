# Sensors to evaluate with a nixpkgs tree, and what is looked at in each.
{
  tree,
  system ? "x86_64-linux",
}:
let
  pkgs = import tree { inherit system; };
  inherit (pkgs) lib;

  machine =
    settings:
    (import (tree + "/nixos/lib/eval-config.nix") {
      inherit lib pkgs;
      system = null;
      modules = [
        ../../../nixos-modules
        {
          boot.isContainer = true;
          system.stateVersion = lib.trivial.release;
          services.acoupi = {
            enable = true;
          }
          // settings;
        }
      ];
    }).config;

  failures = config: map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);

  activity = {
    program = "acoupi.programs.activity";
    credentials.mqtt = "/var/lib/secrets/mqtt";
    deployment = {
      name = "Oak 7";
      latitude = 51.66;
      longitude = 0.05;
    };
    settings = {
      microphone.samplerate = 384000;
      messaging.mqtt = {
        host = "mqtt.example.org";
        password._secret = "mqtt";
      };
    };
  };

  sensors = {
    smallest = { };
    inherit activity;
    elsewhere = {
      home = "/data/sensor";
      temporaryAudioSize = null;
      user = "sensor";
      group = "sensor";
    };
    mutable.mutableConfiguration = true;
    own-broker = {
      redis.createLocally = false;
      celery.broker_url = "rediss://queue.example.org:6379/0";
    };
    secret-broker = {
      redis.createLocally = false;
      celery.broker_url._secret = "broker";
      credentials.broker = "/var/lib/secrets/broker";
    };
    mutable-secret-broker = sensors.secret-broker // {
      mutableConfiguration = true;
    };
    other-program = {
      program = "dusk_chorus";
      catalogues = [ ../../../templates/fleet/dusk-chorus/catalogue.json ];
      settings.chorus.minutes = 90;
    };
    # --- refused
    unknown-program.program = "acoupi.programs.defalt";
    half-a-place.deployment = {
      name = "nowhere";
      latitude = 51.5;
    };
    plain-secret = lib.recursiveUpdate activity {
      settings.messaging.mqtt.password = "plain";
    };
    absent-secret = lib.recursiveUpdate activity {
      settings.messaging.mqtt.password._secret = "absent";
    };
    no-broker.redis.createLocally = false;
    two-brokers.celery.broker_url = "redis://queue.example.org";
    broker-password = {
      redis.createLocally = false;
      celery.broker_url = "redis://user:word@queue.example.org";
    };
    unused-secret.credentials.mqtt = "/var/lib/secrets/mqtt";
    # --- errors
    wrong-type.settings.microphone.samplerate = "loud";
    out-of-range.settings.microphone.samplerate = 5;
    secret-by-path.credentials.mqtt = ./module.nix;
    secret-in-store.credentials.mqtt = "${builtins.storeDir}/secret";
    relative-home.home = "var/lib/acoupi";
    unknown-option.sampelrate = 48000;
    port-zero = lib.recursiveUpdate activity { settings.messaging.mqtt.port = 0; };
    no-such-level.logLevel = "LOUD";
    north-of-the-pole.deployment = {
      name = "nowhere";
      latitude = 95;
      longitude = 0;
    };
    unnamed.deployment.latitude = 51.5;
    settings-as-text.settings = "microphone";
    no-such-pool.celery.pool = "gevent";
    misspelt = {
      settings.microphone.sampelrate = 48000;
    };
  };

  # What does not depend on packages, so that any tree gives the same.
  look =
    settings:
    let
      config = machine settings;
      ours = lib.filterAttrs (name: _: lib.hasPrefix "acoupi" name || name == "redis-acoupi");
    in
    {
      failures = failures config;
      warnings = lib.filter (lib.hasInfix "acoupi") config.warnings;
      services = lib.mapAttrs (_: it: {
        inherit (it)
          after
          before
          wants
          wantedBy
          partOf
          ;
        config = lib.filterAttrs (
          name: value:
          !(lib.hasPrefix "Exec" name) && !(lib.isString value && lib.hasInfix builtins.storeDir value)
        ) it.serviceConfig;
      }) (ours config.systemd.services);
      target = config.systemd.targets.acoupi.wantedBy;
      mounts = map (it: it.options) (lib.filter (it: it.where == "/run/acoupi") config.systemd.mounts);
      users = lib.attrNames (ours config.users.users);
      redis = {
        inherit (config.services.redis.servers.acoupi or { port = null; }) port;
      };
      inherit (config.services.acoupi) deployment settings;
      home = builtins.unsafeDiscardStringContext config.services.acoupi.rendered.drvPath;
    };

  # Units that a change of the configuration restarts.
  texts =
    config:
    lib.mapAttrs (_: unit: builtins.unsafeDiscardStringContext unit.text) (
      lib.filterAttrs (name: unit: lib.hasInfix "acoupi" name && unit.enable) config.systemd.units
    );
  restartedBy =
    changed:
    let
      before = texts (machine activity);
      after = texts (machine (lib.recursiveUpdate activity changed));
    in
    lib.filter (name: before.${name} or null != after.${name} or null) (
      lib.attrNames (before // after)
    );
  changes = {
    nothing = { };
    setting.settings.recording.interval = 20;
    level.logLevel = "DEBUG";
    deployment.deployment.name = "Oak 8";
    credential.credentials.mqtt = "/run/secrets/mqtt";
    memory.temporaryAudioSize = "10%";
  };
in
{
  restarted = lib.mapAttrs (_: restartedBy) changes;
  looks = lib.mapAttrs (_: look) sensors;
  homes = lib.mapAttrs (_: it: (machine it).services.acoupi.rendered) sensors;
  options = import ../../../nix/options-doc.nix { inherit lib; };
  systems = lib.mapAttrs (_: it: (machine it).system.build.toplevel) sensors;
}
