# The command line on the sensor: runs as the services do, with their home, user and
# credentials.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  context = import ./context.nix { inherit config lib pkgs; };
  inherit (context) cfg;
  acoupi = "${context.python}/bin/acoupi";
  credentials = lib.concatMapStringsSep " " (
    name: "--property=LoadCredential=${lib.escapeShellArg "${name}:${cfg.credentials.${name}}"}"
  ) (lib.attrNames cfg.credentials);

  command = pkgs.writeShellScriptBin "acoupi" ''
    set -euo pipefail
    export ACOUPI_HOME=${lib.escapeShellArg cfg.home}

    case "$#:''${1-}" in
    1:start | 1:restart | 1:stop)
      if ((EUID != 0)); then
        echo "acoupi: the services are the system's: use sudo acoupi $1" >&2
        exit 1
      fi
      services=()
      if [[ "$1" != start ]]; then
        # The target alone does not wait for them.
        read -ra services < <(systemctl show --value --property=ConsistsOf acoupi.target)
      fi
      if [[ "$1" == stop ]]; then
        echo "Stopped until the next boot; for good: services.acoupi.enable = false." >&2
      fi
      exec systemctl "$1" acoupi.target "''${services[@]}"
      ;;
    0: | *:-h | *:--help | *:--version | *:catalogue | *:completion)
      exec ${acoupi} "$@"
      ;;
    esac

    if [[ "$(id -un)" == ${lib.escapeShellArg cfg.user} ]]; then
      exec ${acoupi} "$@"
    fi
    if ((EUID != 0)); then
      echo "acoupi: this sensor belongs to the user ${cfg.user}: use sudo acoupi $*" >&2
      exit 1
    fi
    terminal=--pipe
    if [[ -t 0 && -t 1 ]]; then
      terminal=--pty
    fi
    # The directory of who calls may be one that the services do not see, as /root.
    exec systemd-run --quiet --collect --wait "$terminal" --service-type=exec \
      --property=WorkingDirectory=-"$PWD" \
      --slice=acoupi.slice --uid=${lib.escapeShellArg cfg.user} --gid=${lib.escapeShellArg cfg.group} \
      --setenv=ACOUPI_HOME --setenv=PYTHONDONTWRITEBYTECODE=1 --setenv=TERM="''${TERM-dumb}" \
      ${lib.optionalString cfg.redis.createLocally "--property=SupplementaryGroups=redis-acoupi"} ${credentials} \
      ${acoupi} "$@"
  '';
in
{
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ command ];
  };
}
