# Whole sensors in virtual machines: the scenarios beside this file, which tests/e2e runs
# on Debian, with a kernel's sound card (snd-aloop) and an MQTT broker on another machine.
#   nix build .#checks.x86_64-linux.vm-end-to-end
{ self, pkgs }:
let
  server = {
    networking.firewall.allowedTCPPorts = [ 1883 ];
    services.mosquitto = {
      enable = true;
      listeners = [
        {
          acl = [ "topic readwrite #" ];
          omitPasswordAuth = true;
          settings.allow_anonymous = true;
        }
      ];
    };
    systemd.services.listener = {
      description = "Keeps what is sent to the MQTT broker";
      wantedBy = [ "multi-user.target" ];
      after = [ "mosquitto.service" ];
      unitConfig.StartLimitIntervalSec = 0;
      script = ''
        exec ${pkgs.mosquitto}/bin/mosquitto_sub -h 127.0.0.1 -p 1883 \
          -t '#' -q 1 -c -i listener >>/var/lib/listener/messages
      '';
      serviceConfig = {
        StateDirectory = "listener";
        Restart = "always";
        RestartSec = 1;
      };
    };
  };

  sensor = {
    imports = [ self.nixosModules.acoupi ];

    boot.kernelModules = [ "snd-aloop" ];
    # What is played into one end of the loop is recorded from the other.
    environment.etc."asound.conf".text = ''
      pcm.microphone { type hw card Loopback device 1 }
      pcm.speaker { type hw card Loopback device 0 }
    '';
    environment.systemPackages = [
      pkgs.alsa-utils
      pkgs.sqlite
    ];
    virtualisation = {
      cores = 2;
      memorySize = 1536;
    };

    services.acoupi = {
      enable = true;
      program = "acoupi.programs.activity";
      deployment.name = "garden";
      settings = {
        timezone = "UTC";
        microphone.device_name = "microphone";
        recording = {
          duration = 1;
          interval = 1;
          schedule_start = "00:00:00";
          schedule_end = "00:00:00";
        };
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

  scenario =
    name: script:
    pkgs.testers.runNixOSTest {
      name = "acoupi-${name}";
      nodes = {
        inherit sensor server;
      };
      # The scenarios are plain modules, which the driver's own checks do not see: they are
      # checked where they are run, too, by tests/e2e.
      skipTypeCheck = true;
      skipLint = true;
      testScript = ''
        import sys

        sys.path.insert(0, "${./scenarios}")

        import end_to_end
        import faults
        import services
        import sound
        from sensor import Sensor, eventually

        server.start()
        sensor.start(allow_reboot=True)
        server.wait_for_unit("listener.service")
        sensor.wait_for_unit("multi-user.target")
        chirps = "chirps.wav"
        sound.write_chirps(chirps)
        it = Sensor(
            machine=sensor,
            server=server,
            play="aplay -q -D speaker",
            user="acoupi",
            broker="redis-acoupi.service",
        )
        it.listening = sensor.succeed("ss -Hlntu")
        it.play_sound(chirps)
        eventually("recording", it.is_recording)

        ${script}
      '';
    };
in
builtins.mapAttrs scenario {
  end-to-end = ''
    with subtest("sound becomes detections, kept files and messages"):
        end_to_end.keeps(it, end_to_end.detects_and_delivers(it))
        end_to_end.is_in_order(it, it.listening)
        end_to_end.is_confined(it)

    with subtest("after a reboot the sensor goes on by itself"):
        end_to_end.goes_on_after_a_reboot(it, chirps)
        end_to_end.is_in_order(it, it.listening)
  '';

  services = ''
    services.stops_and_starts(it, at_boot=False)
  '';

  faults = ''
    with subtest("each process that is killed comes back"):
        faults.comes_back_from_kills(it)

    with subtest("the watchdog replaces a process that hangs"):
        faults.restarts_what_hangs(it, "acoupi-worker-detection.service")

    with subtest("nothing acknowledged is lost when the power goes"):
        faults.loses_nothing_acknowledged(it, chirps)
  '';
}
