# Any program of the catalogues on one system, so that `acoupi.toml` and `acoupi setup`
# choose it on the sensor: the workers of all of them are declared, and those start that
# the program in the home has.
#
# Not specialisations: `acoupi setup` would have to switch the system, extlinux starts
# none of them by itself, and each boot would begin with the wrong one.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.acoupi;
  context = import ../context.nix { inherit config lib pkgs; };
  inherit (context) units;

  # Every worker of any program, with all that it needs in one of them.
  all = lib.foldl' (
    found: worker:
    found
    // {
      ${worker.name} = worker // {
        capabilities = lib.unique (
          lib.naturalSort (worker.capabilities ++ (found.${worker.name}.capabilities or [ ]))
        );
      };
    }
  ) { } (lib.concatMap (program: program.workers) (lib.attrValues context.programs));

  declared = lib.listToAttrs (map (it: lib.nameValuePair it.name it) context.workers);
  needsMore = worker: (declared.${worker.name} or worker).capabilities != worker.capabilities;

  # The workers of the home are in its script that starts them.
  isWanted =
    worker:
    "${pkgs.gnugrep}/bin/grep -qE \"^readonly workers=\\\\((.* )?'?${lib.escapeRegex worker.name}'?( .*)?\\\\)$\" ${cfg.home}/bin/acoupi-workers-start.sh";

  condition = worker: { serviceConfig.ExecCondition = isWanted worker; };
  missing = lib.filterAttrs (name: _: !(declared ? ${name})) all;
  wider = lib.filterAttrs (name: worker: declared ? ${name} && needsMore worker) all;
  service = worker: units.worker context.unitContext worker;
in
{
  config = lib.mkIf (cfg.enable && cfg.mutableConfiguration) {
    systemd.services = lib.mkMerge [
      (lib.mapAttrs' (
        _: worker:
        lib.nameValuePair (units.serviceName worker) (service worker // { path = [ pkgs.bash ]; })
      ) missing)
      (lib.mapAttrs' (
        _: worker:
        lib.nameValuePair (units.serviceName worker) {
          serviceConfig = lib.mapAttrs (_: lib.mkForce) (service worker).serviceConfig;
        }
      ) wider)
      (lib.mapAttrs' (_: worker: lib.nameValuePair (units.serviceName worker) (condition worker)) all)
    ];
  };
}
