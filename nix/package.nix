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
}:
let
  inherit (builtins.fromTOML (builtins.readFile ../pyproject.toml)) project;

  # "celery[redis]>=5.4,<6" -> python.pkgs.celery
  packageOf =
    requirement: python.pkgs.${builtins.head (builtins.match "([A-Za-z0-9_.-]+).*" requirement)};

  # Only these: an edit of the documentation builds nothing anew.
  files = [
    "acoupi"
    "tests"
    "pyproject.toml"
    "README.md"
    "LICENSE"
  ];
in
buildPythonPackage {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = lib.cleanSourceWith {
    name = "acoupi-source";
    src = lib.cleanSource ../.;
    filter =
      path: _:
      let
        relative = lib.removePrefix "${toString ../.}/" path;
        first = builtins.head (lib.splitString "/" relative);
      in
      lib.elem first files && baseNameOf path != "__pycache__";
  };

  build-system = [ setuptools ];
  dependencies = map packageOf project.dependencies;

  nativeCheckInputs = [
    hypothesis
    pytest-timeout
    pytestCheckHook
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
