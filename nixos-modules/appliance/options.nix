# The options of services.acoupi.appliance.
{ lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;
in
{
  options.services.acoupi.appliance = {
    enable = mkEnableOption "what a sensor in the field needs of its system" // {
      default = true;
      example = false;
    };

    adminUser = mkOption {
      type = types.str;
      default = "admin";
      example = "pi";
      description = ''
        Who logs in, by SSH key only. May use `sudo` without a password, since there is
        none.
      '';
    };

    provisioning = {
      enable = mkEnableOption "following `acoupi.toml` on a partition at each boot";

      partition = mkOption {
        type = types.str;
        default = "/boot/firmware";
        example = "/boot";
        description = ''
          Where the partition with `acoupi.toml` is mounted; a file system of
          {option}`fileSystems`. It is mounted for reading except while a file on it is
          replaced.
        '';
      };

      state = mkOption {
        type = types.str;
        default = "/var/lib/acoupi-provision";
        example = "/data/provision";
        description = ''
          Directory, for root only, of the passwords that were taken off the partition
          and of what is known of former boots.
        '';
      };
    };

    healthGate = {
      enable = mkEnableOption "the return to the former generation when a new one does not record" // {
        default = true;
        example = false;
      };

      minutes = mkOption {
        type = types.ints.between 2 1440;
        default = 10;
        example = 30;
        description = "Minutes in which a new generation has to record.";
      };
    };
  };
}
