# The home of the sensor: rendered and validated when the system is built, then linked.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  context = import ./context.nix { inherit config lib pkgs; };
  inherit (context) cfg python;
  hardening = import ./lib/hardening.nix;

  json = name: value: pkgs.writeText name (builtins.toJSON value);
  settingsFile = json "acoupi-settings.json" context.settings;
  celeryFile = json "acoupi-celery.json" context.celery;

  rendered =
    pkgs.runCommand "acoupi-home"
      {
        nativeBuildInputs = [ context.renderer ];
        preferLocalBuild = true;
      }
      ''
        export HOME="$TMPDIR" PYTHONDONTWRITEBYTECODE=1
        acoupi render "$out" \
          --program ${lib.escapeShellArg cfg.program} \
          --config ${settingsFile} \
          --celery ${celeryFile} \
          --home ${lib.escapeShellArg cfg.home} \
          --python ${python}/bin/python3 \
          --managed-by "NixOS (services.acoupi in the system's configuration)" \
          --key-prefix services.acoupi.settings \
          --celery-key-prefix services.acoupi.celery \
          --refuse-literal-secrets
        acoupi catalogue ${lib.escapeShellArg cfg.program} >now.json
        python3 ${./compare-catalogues.py} ${context.catalogueFile} now.json
        patchShebangs --host "$out/bin"
      '';

  # Files are linked, not directories: deployments and logs are beside them.
  link = pkgs.writeShellScript "acoupi-link-home" ''
    set -euo pipefail
    cd "$ACOUPI_HOME"
    mkdir -p bin config data log run
    cd ${rendered}
    find . -type f -print0 | while IFS= read -r -d "" file; do
      ln -sfT "${rendered}/''${file#./}" "$ACOUPI_HOME/''${file#./}"
    done
  '';

  # `acoupi setup` owns the home; only the interpreter's path follows the system.
  setUp = pkgs.writeShellScript "acoupi-set-up-home" ''
    set -euo pipefail
    cd "$ACOUPI_HOME"
    mkdir -p bin config data log run
    [[ ! -L config/managed ]] || rm config/managed
    if [[ -L config/name || ! -e config/name ]]; then
      find bin config app.py -type l -delete 2>/dev/null || true
      # What is there is kept by the setup.
      install -m 0600 ${celeryFile} config/celery.json
      ${python}/bin/acoupi setup --no-prompt --program ${lib.escapeShellArg cfg.program} \
        --config ${settingsFile}
    elif ! grep -qF ${python}/bin/ bin/acoupi-beat.sh; then
      ${python}/bin/acoupi setup --no-prompt --program "$(<config/name)" \
        --config config/program.json ||
        echo "the former setup is kept: mend it with \`acoupi setup\`" >&2
    fi
  '';

  root = pkgs.writeShellScript "acoupi-make-directories" ''
    set -euo pipefail
    for directory in ${lib.escapeShellArgs ([ cfg.home ] ++ context.writable)}; do
      [[ -d $directory ]] ||
        install -d -m 0750 -o ${cfg.user} -g ${cfg.group} "$directory"
    done
  '';

  deploy = pkgs.writeShellScript "acoupi-deploy" ''
    set -euo pipefail
    # The deployment that was declared last; others are started on the sensor.
    wanted=${lib.escapeShellArg (builtins.toJSON cfg.deployment)}
    declared="$ACOUPI_HOME/config/deployment.declared"
    if [[ -e $declared && "$(<"$declared")" == "$wanted" ]]; then
      exit 0
    fi
    acoupi=${python}/bin/acoupi
    "$acoupi" deployment end >/dev/null 2>&1 || true
    "$acoupi" deployment start ${
      lib.optionalString (cfg.deployment.latitude or null != null)
        "--latitude=${builtins.toJSON cfg.deployment.latitude} --longitude=${builtins.toJSON cfg.deployment.longitude} "
    }-- ${lib.escapeShellArg (cfg.deployment.name or "")}
    printf '%s' "$wanted" >"$declared"
  '';

  oneshot = {
    Type = "oneshot";
    RemainAfterExit = true;
  };
  environment = {
    ACOUPI_HOME = cfg.home;
    PYTHONDONTWRITEBYTECODE = "1";
  };
  inHome = context.units.inHome context.unitContext;
in
{
  config = lib.mkIf cfg.enable {
    services.acoupi = {
      inherit rendered;
      celery.log_level = lib.mkDefault cfg.logLevel;
      settings = lib.mkMerge [
        (lib.mkIf (context.has [
          "paths"
          "tmp_audio"
        ]) { paths.tmp_audio = lib.mkDefault context.temporaryAudio; })
        (lib.mkIf (context.has [ "timezone" ] && config.time.timeZone != null) {
          timezone = lib.mkDefault config.time.timeZone;
        })
      ];
    };

    system.checks = [ rendered ];

    systemd = {
      mounts = lib.mkIf (cfg.temporaryAudioSize != null) [
        {
          description = "Acoustic sensor: recordings that wait for a decision";
          what = "tmpfs";
          where = context.temporary;
          type = "tmpfs";
          options = "mode=0755,size=${cfg.temporaryAudioSize},nosuid,nodev,noexec,noatime";
        }
      ];

      services.acoupi-setup = {
        description = "Acoustic sensor: home";
        stopIfChanged = false;
        unitConfig.RequiresMountsFor = [ cfg.home ] ++ context.unitContext.mounts;
        inherit environment;
        path = [
          pkgs.bash
          pkgs.coreutils
          pkgs.findutils
          pkgs.gnugrep
        ];
        serviceConfig =
          hardening.relaxedBy [
            "generatedCode"
            "procfs"
          ]
          // oneshot
          // removeAttrs inHome [ "LoadCredential" ]
          // {
            # What is not below /var/lib is root's to make.
            WorkingDirectory = "-${cfg.home}";
            ExecStartPre = "+${root}";
            ExecStart = if cfg.mutableConfiguration then setUp else link;
          };
      };

      services.acoupi-deployment = lib.mkIf (cfg.deployment != null) {
        description = "Acoustic sensor: deployment";
        wantedBy = [ "acoupi.target" ];
        wants = [ "acoupi-setup.service" ];
        after = [ "acoupi-setup.service" ];
        before = map (name: "${name}.service") (context.units.serviceNames context.workers);
        unitConfig.RequiresMountsFor = [ cfg.home ];
        inherit environment;
        serviceConfig =
          hardening.relaxedBy [
            "generatedCode"
            "procfs"
            "network"
          ]
          // oneshot
          // inHome
          // {
            SupplementaryGroups = context.unitContext.groups;
            ExecStart = deploy;
            # Recording does not wait for ever.
            TimeoutStartSec = 120;
          };
      };
    };
  };
}
