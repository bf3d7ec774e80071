# What can be told before anything is built: each message names the option and the remedy.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  context = import ./context.nix { inherit config lib pkgs; };
  inherit (context) cfg secrets;

  given = {
    inherit (context) settings celery;
  };
  literals = secrets.literals context.program.secrets context.settings;
  referred = secrets.references given;
  missing = lib.filter (name: !(cfg.credentials ? ${name})) referred;

  # `password_file = "mqtt"` is the name of a credential as well.
  strings = value: lib.collect lib.isString { inherit value; };
  unused = lib.filter (
    name: !(lib.elem name referred) && !(lib.elem name (strings context.settings))
  ) (lib.attrNames cfg.credentials);

  brokerUrl = cfg.celery.broker_url;
  isOurRedis = brokerUrl == "redis+socket://${context.redisSocket}";
  onePlace = (cfg.deployment.latitude == null) == (cfg.deployment.longitude == null);
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = context.isKnown;
        message = ''
          services.acoupi.program: ${cfg.program} is in no catalogue. Known are ${lib.concatStringsSep ", " (lib.attrNames context.programs)}.
          For a program of your own, add the file that `acoupi catalogue ${cfg.program}` writes to services.acoupi.catalogues, and its package to services.acoupi.extraPackages.
        '';
      }
      {
        assertion = missing == [ ];
        message = ''
          services.acoupi.settings refers to credentials that there are not: ${lib.concatStringsSep ", " missing}.
          Say where they are on the sensor: services.acoupi.credentials.${lib.concatStrings (lib.take 1 missing)} = "/path/of/the/file";
        '';
      }
      {
        assertion = cfg.redis.createLocally -> brokerUrl == null || isOurRedis;
        message = ''
          services.acoupi.celery.broker_url names another broker than the server of services.acoupi.redis.createLocally.
          Set services.acoupi.redis.createLocally = false, or leave the URL out.
        '';
      }
      {
        assertion = !cfg.redis.createLocally -> brokerUrl != null;
        message = ''
          services.acoupi has no broker: set services.acoupi.celery.broker_url, or leave services.acoupi.redis.createLocally as it is.
        '';
      }
      {
        assertion = !(secrets.hasPassword brokerUrl);
        message = ''
          services.acoupi.celery.broker_url holds a password, which everybody could read in the Nix store.
          Give the whole URL as a credential: services.acoupi.celery.broker_url = { _secret = "broker"; };
        '';
      }
      {
        assertion = cfg.deployment == null || onePlace;
        message = ''
          services.acoupi.deployment: a place needs both latitude and longitude, or neither.
        '';
      }
    ]
    ++ map (key: {
      assertion = false;
      message = ''
        services.acoupi.settings.${key} is a secret that is written out, which everybody could read in the Nix store.
        Put it into a file on the sensor, and set
          services.acoupi.settings.${key} = { _secret = "NAME"; };
          services.acoupi.credentials.NAME = "/path/of/the/file";
      '';
    }) literals;

    warnings = map (
      name: "services.acoupi.credentials.${name} is not used: no setting is { _secret = \"${name}\"; }."
    ) unused;
  };
}
