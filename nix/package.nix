# acoupi as a Python package; name, version and requirements are those of pyproject.toml.
#   python3Packages.callPackage ./package.nix { }
{
  lib,
  python,
  buildPythonPackage,
  setuptools,
  pytestCheckHook,
  pytest-timeout,
  hypothesis,
  util-linux,
}:
let
  inherit (builtins.fromTOML (builtins.readFile ../pyproject.toml)) project;

  # "celery[redis]>=5.4,<6" -> python.pkgs.celery
  packageOf =
    requirement: python.pkgs.${builtins.head (builtins.match "([A-Za-z0-9_.-]+).*" requirement)};

  # Only these: an edit of anything else builds nothing anew.
  files = [
    "LICENSE"
    "README.md"
    "acoupi"
    "docs/command-line.md"
    "nixos-modules/sd-image/acoupi.toml"
    "pyproject.toml"
    "tests/bench/activity_scenes.py"
    "tests/conftest.py"
    "tests/unit"
  ];
  isWanted =
    relative:
    lib.any (
      file: relative == file || lib.hasPrefix "${file}/" relative || lib.hasPrefix "${relative}/" file
    ) files;
in
buildPythonPackage {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = lib.cleanSourceWith {
    name = "acoupi-source";
    src = lib.cleanSource ../.;
    filter =
      path: _: isWanted (lib.removePrefix "${toString ../.}/" path) && baseNameOf path != "__pycache__";
  };

  build-system = [ setuptools ];
  dependencies = map packageOf project.dependencies;

  nativeCheckInputs = [
    hypothesis
    pytest-timeout
    pytestCheckHook
    # The scripts that start a sensor in the background use setsid.
    util-linux
  ];
  enabledTestPaths = [ "tests/unit" ];
  # What another version of a dependency warns about is not an error here.
  pytestFlags = [
    "-W"
    "default"
  ];
  preCheck = "export HOME=$TMPDIR";
  pythonImportsCheck = [
    "acoupi"
    "acoupi.cli"
    "acoupi.programs"
  ];

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = "acoupi";
    platforms = lib.platforms.linux;
  };
}
