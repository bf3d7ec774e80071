# Whole sensors in virtual machines: the scenarios beside this file, which tests/e2e runs
# on Debian, with a kernel's sound card (snd-aloop) and an MQTT broker on another machine.
#   nix build .#checks.x86_64-linux.vm-end-to-end
{ self, pkgs }:
let
  inherit (pkgs) lib;

  # An MQTT broker, and a listener that keeps what arrives there.
  broker =
    {
      user ? null,
      password ? null,
    }:
    {
      networking.firewall.allowedTCPPorts = [ 1883 ];
      services.mosquitto = {
        enable = true;
        listeners = [
          (
            if user == null then
              {
                acl = [ "topic readwrite #" ];
                omitPasswordAuth = true;
                settings.allow_anonymous = true;
              }
            else
              {
                users.${user} = {
                  acl = [ "readwrite #" ];
                  inherit password;
                };
              }
          )
        ];
      };
      systemd.services.listener = {
        description = "Keeps what is sent to the MQTT broker";
        wantedBy = [ "multi-user.target" ];
        after = [ "mosquitto.service" ];
        unitConfig.StartLimitIntervalSec = 0;
        script = ''
          exec ${pkgs.mosquitto}/bin/mosquitto_sub -h 127.0.0.1 -p 1883 \
            ${lib.optionalString (user != null) "-u ${user} -P ${password}"} \
            -t '#' -q 1 -c -i listener >>/var/lib/listener/messages
        '';
        serviceConfig = {
          StateDirectory = "listener";
          Restart = "always";
          RestartSec = 1;
        };
      };
    };

  # What is played into one end of the loop is recorded from the other.
  sound = {
    boot.kernelModules = [ "snd-aloop" ];
    environment.etc."asound.conf".text = ''
      pcm.microphone { type hw card Loopback device 1 }
      pcm.speaker { type hw card Loopback device 0 }
      pcm.!default { type plug slave.pcm "microphone" }
    '';
    environment.systemPackages = [
      pkgs.alsa-utils
      pkgs.sqlite
    ];
    virtualisation = {
      cores = 2;
      memorySize = 1536;
    };
  };

  recording = {
    duration = 1;
    interval = 1;
    schedule_start = "00:00:00";
    schedule_end = "00:00:00";
  };

  sensor = {
    imports = [
      self.nixosModules.acoupi
      sound
    ];
    services.acoupi = {
      enable = true;
      program = "acoupi.programs.activity";
      deployment.name = "garden";
      settings = {
        inherit recording;
        timezone = "UTC";
        microphone.device_name = "microphone";
        messaging = {
          message_send_interval = 1;
          mqtt = {
            host = "server";
            port = 1883;
          };
        };
      };
    };
  };

  # Its password is that of the scenario, on the sensor only.
  password = "canary-of-the-broker";
  sensorWithPassword = {
    imports = [ sensor ];
    services.acoupi = {
      credentials.mqtt = "/var/lib/secrets/mqtt";
      settings.messaging.mqtt = {
        username = "sensor";
        password._secret = "mqtt";
      };
    };
  };

  # As from a card: what it does is what `acoupi.toml` on a second disk says.
  appliance = {
    imports = [
      self.nixosModules.appliance
      sound
      (broker { })
    ];
    # The card names it; the driver knows it by this.
    networking.hostName = lib.mkForce "";
    system.name = "sensor";
    services.acoupi = {
      enable = true;
      mutableConfiguration = true;
      settings = { inherit recording; };
      appliance.provisioning.enable = true;
    };
    virtualisation = {
      emptyDiskImages = [ 64 ];
      fileSystems."/boot/firmware" = {
        device = "/dev/vdb";
        fsType = "vfat";
        options = [
          "ro"
          "noatime"
          "nofail"
        ];
      };
    };
    environment.systemPackages = [ pkgs.dosfstools ];
  };

  # Two systems to switch to: one that records, and one that does not.
  changing = {
    imports = [
      sensor
      self.nixosModules.appliance
    ];
    services.acoupi.appliance.healthGate.minutes = 3;
    # QEMU starts the kernel itself, and so does not ask for a boot loader.
    boot.loader.grub.enable = lib.mkForce false;
    boot.loader.external = {
      enable = true;
      installHook = pkgs.writeShellScript "no-boot-loader" "exit 0";
    };
    specialisation = {
      next.configuration.environment.etc."generation".text = "next";
      bad.configuration.systemd.services.acoupi-worker-recording.serviceConfig.ExecStart =
        lib.mkForce "${pkgs.coreutils}/bin/false";
    };
  };

  scenario =
    name:
    {
      nodes,
      script,
      server ? "server",
      home ? "/var/lib/acoupi",
      prepare ? "",
    }:
    pkgs.testers.runNixOSTest {
      name = "acoupi-${name}";
      inherit nodes;
      # The scenarios are plain modules, which the driver's own checks do not see: they are
      # checked where they are run, too, by tests/e2e.
      skipTypeCheck = true;
      skipLint = true;
      testScript = ''
        import sys

        sys.path.insert(0, "${./scenarios}")

        import diagnoses
        import end_to_end
        import faults
        import generations
        import passwords
        import provisioning
        import services
        import sound
        from sensor import Sensor, eventually

        sensor.start(allow_reboot=True)
        ${server}.start()
        ${server}.wait_for_unit("listener.service")
        ${prepare}
        sensor.wait_for_unit("multi-user.target")
        chirps = "chirps.wav"
        sound.write_chirps(chirps)
        it = Sensor(
            machine=sensor,
            server=${server},
            play="aplay -q -D speaker",
            user="acoupi",
            home="${home}",
            broker="redis-acoupi.service",
        )
        it.listening = sensor.succeed("ss -Hlntu")
        it.play_sound(chirps)
        eventually("recording", it.is_recording)

        ${script}
      '';
    };

  two = {
    nodes = {
      inherit sensor;
      server = broker { };
    };
  };
in
builtins.mapAttrs scenario {
  end-to-end = two // {
    script = ''
      with subtest("sound becomes detections, kept files and messages"):
          end_to_end.hears_keeps_and_tells(it)

      with subtest("after a reboot the sensor goes on by itself"):
          end_to_end.goes_on_after_a_reboot(it, chirps)
          end_to_end.is_in_order(it, it.listening)
    '';
  };

  diagnoses = two // {
    script = ''
      diagnoses.names_each_fault(it, diagnoses.GROUPS_OF_DECLARED)
    '';
  };

  services = two // {
    script = ''
      services.stops_and_starts(it, at_boot=False)
    '';
  };

  faults = two // {
    script = ''
      with subtest("each process that is killed comes back"):
          faults.comes_back_from_kills(it)

      with subtest("the watchdog replaces a process that hangs"):
          faults.restarts_what_hangs(it, "acoupi-worker-detection.service")

      with subtest("nothing acknowledged is lost when the power goes"):
          faults.loses_nothing_acknowledged(it, chirps)
    '';
  };

  secrets = {
    nodes = {
      sensor = sensorWithPassword;
      server = broker {
        user = "sensor";
        inherit password;
      };
    };
    prepare = ''
      assert passwords.PASSWORD == "${password}"
      sensor.succeed(
          f"install -Dm 0600 /dev/stdin {passwords.FILE} <<<'{passwords.PASSWORD}'",
          "systemctl restart acoupi.target",
      )
    '';
    script = ''
      passwords.are_nowhere_to_be_read(it, "nix-store --query --requisites /run/current-system")
    '';
  };

  provisioning = {
    nodes.sensor = appliance;
    server = "sensor";
    prepare = ''
      sensor.succeed("mkfs.vfat -n FIRMWARE /dev/vdb")
      sensor.reboot()
    '';
    script = ''
      with subtest("without a file, the default program records"):
          provisioning.starts_without_a_file(it)

      with subtest("what the file asks for is done"):
          provisioning.follows_the_file(it, chirps)

      for text, said in (
          (provisioning.BROKEN, 'line 2: device.name = "garden 2"'),
          (provisioning.NO_TOML, "line 1"),
          (None, "there is no acoupi.toml"),
      ):
          with subtest(f"a wrong file stops nothing: {said}"):
              provisioning.goes_on_with(it, chirps, text, said)

      with subtest("power that goes while the file is followed"):
          provisioning.survives_power_cuts(it, chirps, cuts=3, seed=1)
    '';
  };

  generations = {
    nodes = {
      sensor = changing;
      server = broker { };
    };
    prepare = ''
      sensor.succeed("nix-env --profile /nix/var/nix/profiles/system --set /run/current-system")
      # The test says when a minute is over.
      sensor.succeed("systemctl stop acoupi-health-gate.timer")
    '';
    script = ''
      bad, good = (
          sensor.succeed(f"readlink -f /run/current-system/specialisation/{name}").strip()
          for name in ("bad", "next")
      )


      def switch():
          sensor.succeed(
              f"nix-env --profile /nix/var/nix/profiles/system --set {bad}",
              f"{bad}/bin/switch-to-configuration switch",
          )


      with subtest("a generation that does not record gives way by itself"):
          generations.one_that_does_not_record_gives_way(it, switch, 3)

      with subtest("an update holds only when it records"):
          generations.an_update_is_tried_out(it, good, bad)
    '';
  };
}
