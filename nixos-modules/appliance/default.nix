# A machine that is an acoustic sensor and nothing else, in a place where nobody looks
# after it: what holds in the field, whatever it is installed on.
{
  imports = [
    ../default.nix
    ./options.nix
    ./field.nix
    ./health-gate.nix
    ./network.nix
    ./programs.nix
    ./provisioning.nix
  ];
}
