# The options of services.acoupi.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    literalExpression
    literalMD
    mkEnableOption
    mkOption
    types
    ;
  cfg = config.services.acoupi;
  catalogues = import ./lib/catalogue.nix;
  ours = import ./lib/types.nix { inherit lib; };
  program = catalogues.find (catalogues.programsOf cfg.catalogues) cfg.program;
in
{
  options.services.acoupi = {
    enable = mkEnableOption "acoupi, an acoustic sensor that records, detects, stores and sends";

    package = mkOption {
      type = types.package;
      default = pkgs.python3Packages.callPackage ../nix/package.nix { };
      defaultText = literalMD "acoupi as it is here, built with the Python of `pkgs`";
      example = literalExpression "pkgs.python3Packages.acoupi";
      description = "The acoupi to run: a package of a set of Python packages.";
    };

    extraPackages = mkOption {
      type = types.functionTo (types.listOf types.package);
      default = _: [ ];
      defaultText = literalExpression "ps: [ ]";
      example = literalExpression "ps: [ (ps.callPackage ./my-program.nix { }) ]";
      description = ''
        Python packages to have beside acoupi: programs of others and classifiers. The
        function's argument is the set of Python packages, with this `acoupi` in it.
      '';
    };

    program = mkOption {
      type = types.str;
      default = "acoupi.programs.default";
      example = "acoupi.programs.activity";
      description = ''
        The program that the sensor runs: the dotted name of its module. A program that
        does not ship with acoupi also needs
        {option}`services.acoupi.extraPackages` and {option}`services.acoupi.catalogues`.
      '';
    };

    catalogues = mkOption {
      type = types.listOf types.path;
      default = [ ];
      apply = others: [ ./catalogue.json ] ++ others;
      example = literalExpression "[ ./my-program.json ]";
      description = ''
        What has to be known of programs of others before anything is built: the files
        that `acoupi catalogue MODULE > my-program.json` writes, kept beside the
        configuration. A build checks that they are up to date.
      '';
    };

    settings = mkOption {
      type = ours.configuration program.schema;
      default = { };
      visible = "shallow";
      example = {
        microphone = {
          device_name = "UltraMic";
          samplerate = 250000;
        };
        recording = {
          duration = 5;
          interval = 5;
        };
      };
      description = ''
        The program's configuration, with the keys of `config/program.json`; they are
        listed below for the programs that ship. It is validated when the system is
        built, by the program itself. A secret is given as `{ _secret = "NAME"; }`, a
        name in {option}`services.acoupi.credentials`.
      '';
    };

    celery = mkOption {
      type = ours.configuration (catalogues.read ./catalogue.json).celery;
      default = { };
      visible = "shallow";
      example = {
        broker_url = "rediss://queue.example.org:6379/0";
      };
      description = ''
        How tasks travel and how workers run, with the keys of `config/celery.json`,
        listed below. Without a `broker_url`, the server of
        {option}`services.acoupi.redis.createLocally` is used.
      '';
    };

    logLevel = mkOption {
      type = types.enum [
        "DEBUG"
        "INFO"
        "WARNING"
        "ERROR"
      ];
      default = "INFO";
      example = "DEBUG";
      description = "The least important messages to log.";
    };

    home = mkOption {
      type = ours.placeOnSensor;
      default = "/var/lib/acoupi";
      example = "/data/acoupi";
      description = ''
        The sensor's home, `ACOUPI_HOME`: its generated files, its state and, unless
        {option}`services.acoupi.settings` says otherwise, its recordings.
      '';
    };

    mutableConfiguration = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether `acoupi setup` and `acoupi config set` on the sensor change its
        configuration. The options here are then only what the sensor is set up with
        when its home is new. The services stay those of
        {option}`services.acoupi.program`: another program must have the same workers.
      '';
    };

    temporaryAudioSize = mkOption {
      type = types.nullOr types.str;
      default = "25%";
      example = "300m";
      description = ''
        Bound of the memory in which recordings wait until it is decided whether they
        are kept ({manpage}`tmpfs(5)`, `size=`). `null`: they wait on the disk of the
        home, which wears a card out.
      '';
    };

    deployment = mkOption {
      default = null;
      example = {
        name = "Epping Forest, oak 7";
        latitude = 51.66;
        longitude = 0.05;
      };
      description = ''
        Where the sensor stands. A change ends the deployment that is under way and
        starts this one. `null`: deployments are started on the sensor, with
        `acoupi deployment start`.
      '';
      type = types.nullOr (
        types.submodule {
          options = {
            name = mkOption {
              type = types.nonEmptyStr;
              example = "Epping Forest, oak 7";
              description = "Any name.";
            };
            latitude = mkOption {
              type = types.nullOr (types.numbers.between (-90) 90);
              default = null;
              example = 51.66;
              description = "Degrees north. Dawn and dusk are those of this place.";
            };
            longitude = mkOption {
              type = types.nullOr (types.numbers.between (-180) 180);
              default = null;
              example = 0.05;
              description = "Degrees east.";
            };
          };
        }
      );
    };

    credentials = mkOption {
      type = types.attrsOf ours.placeOnSensor;
      default = { };
      example = {
        mqtt = "/var/lib/secrets/mqtt-password";
      };
      description = ''
        Secrets by name: files on the sensor, readable by root only. The services get
        them as systemd credentials ({manpage}`systemd.exec(5)`, `LoadCredential=`);
        {option}`services.acoupi.settings` refers to them as `{ _secret = "NAME"; }`.
      '';
    };

    redis.createLocally = mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = ''
        Whether to run a Redis server for the sensor's tasks: on a unix socket, without
        persistence, since nothing is lost with it.
      '';
    };

    user = mkOption {
      type = types.str;
      default = "acoupi";
      example = "sensor";
      description = "User of the services; made when it is the default.";
    };

    group = mkOption {
      type = types.str;
      default = "acoupi";
      example = "sensor";
      description = "Group of the services; made when it is the default.";
    };

    rendered = mkOption {
      type = types.package;
      readOnly = true;
      defaultText = literalMD "the validated files";
      description = ''
        The generated files of the home, which building this validates:
        `nix build .#nixosConfigurations.NAME.config.services.acoupi.rendered`.
      '';
    };
  };
}
