# Frogs at a pond: a program of our own.
{
  services.acoupi = {
    program = "dusk_chorus";
    extraPackages = ps: [ (ps.callPackage ../dusk-chorus/package.nix { }) ];
    # acoupi catalogue dusk_chorus > dusk-chorus/catalogue.json
    catalogues = [ ../dusk-chorus/catalogue.json ];
    deployment = {
      name = "Pond";
      latitude = 51.65;
      longitude = 0.04;
    };
    settings = {
      microphone.samplerate = 48000;
      chorus.minutes = 90;
    };
  };
}
