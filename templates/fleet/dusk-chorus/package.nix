{
  acoupi,
  buildPythonPackage,
  setuptools,
}:
buildPythonPackage {
  pname = "dusk-chorus";
  version = "0.1.0";
  pyproject = true;
  src = ./.;
  build-system = [ setuptools ];
  dependencies = [ acoupi ];
  pythonImportsCheck = [ "dusk_chorus" ];
}
