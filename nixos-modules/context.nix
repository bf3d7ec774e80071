# What the parts of the module derive from the options, once.
{
  config,
  lib,
  pkgs,
}:
let
  cfg = config.services.acoupi;
  catalogues = import ./lib/catalogue.nix;
  schemas = import ./lib/schema.nix;
  secrets = import ./lib/secrets.nix;
  units = import ./lib/units.nix;

  redisSocket = "/run/redis-acoupi/redis.sock";

  # The cross-built Python cannot run where the system is built.
  runsHere = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  withPrograms =
    python: acoupi:
    python.withPackages (
      ps:
      [ acoupi ]
      ++ cfg.extraPackages (
        ps
        // {
          inherit acoupi;
          callPackage = ps.newScope { inherit acoupi; };
        }
      )
    );
in
rec {
  inherit
    cfg
    redisSocket
    schemas
    secrets
    units
    ;

  programs = catalogues.programsOf cfg.catalogues;
  isKnown = programs ? ${cfg.program};
  program = catalogues.find programs cfg.program;
  inherit (program) workers;
  catalogueFile = lib.findFirst (
    file: (catalogues.read file).programs ? ${cfg.program}
  ) ./catalogue.json (lib.reverseList cfg.catalogues);

  setting = schemas.classify program.schema program.schema;
  settings = schemas.prune program.schema setting cfg.settings;
  celerySchema = (catalogues.read ./catalogue.json).celery;
  celery = schemas.prune celerySchema (schemas.classify celerySchema celerySchema) cfg.celery;

  has = keys: schemas.at program.schema keys != null;

  python = withPrograms cfg.package.pythonModule cfg.package;
  # Validates and renders, and runs where the system is built.
  renderer =
    if runsHere then
      python
    else
      withPrograms pkgs.buildPackages.python3 (
        pkgs.buildPackages.python3Packages.callPackage ../nix/package.nix { }
      );

  # Where recordings wait for a decision: memory that is bounded and shared by the services.
  temporary = "/run/acoupi";
  temporaryAudio =
    if cfg.temporaryAudioSize == null then "${cfg.home}/data/temporary" else "${temporary}/audio";

  # Directories outside the home that the services write to: those of the settings that
  # are paths, except where these are files that are only read.
  writable =
    let
      isRead = key: lib.hasSuffix "_file" key || lib.hasSuffix "source_path" key;
      directory = path: if lib.hasInfix "." (baseNameOf path) then dirOf path else path;
      found = map (it: directory it.value) (
        lib.filter (it: !isRead it.key) (schemas.pathsIn program.schema settings)
      );
    in
    lib.unique (lib.filter (path: path != cfg.home && !lib.hasPrefix "${cfg.home}/" path) found);

  usesLocalRedis = cfg.redis.createLocally;

  unitContext = {
    inherit (cfg)
      credentials
      group
      home
      user
      ;
    inherit writable;
    broker = celery.broker_url or null;
    brokerUnits = lib.optional usesLocalRedis "redis-acoupi.service";
    groups = lib.optional usesLocalRedis "redis-acoupi";
    mounts = lib.optional (cfg.temporaryAudioSize != null) temporary;
    stateDirectory =
      if lib.hasPrefix "/var/lib/" cfg.home then lib.removePrefix "/var/lib/" cfg.home else null;
  };
}
