# The NixOS module of acoupi: options become systemd services and a home that the Python
# package renders and validates when the system is built.
{
  imports = [
    ./options.nix
    ./renamed.nix
    ./assertions.nix
    ./home.nix
    ./services.nix
    ./command.nix
  ];
}
