# Birds at an oak: a program that ships with acoupi.
{
  services.acoupi = {
    program = "acoupi.programs.activity";
    deployment = {
      name = "Oak";
      latitude = 51.66;
      longitude = 0.05;
    };
    # A file on the sensor, for root only.
    credentials.mqtt = "/var/lib/secrets/mqtt";
    settings = {
      microphone.samplerate = 48000;
      recording = {
        duration = 10;
        interval = 10;
      };
      messaging.mqtt = {
        host = "mqtt.example.org";
        username = "oak";
        password._secret = "mqtt";
      };
    };
  };
}
