# acoupi in every set of Python packages, and as a program.
final: prev: {
  pythonPackagesExtensions = (prev.pythonPackagesExtensions or [ ]) ++ [
    (python: _: { acoupi = python.callPackage ./package.nix { }; })
  ];
  acoupi = final.python3Packages.toPythonApplication final.python3Packages.acoupi;
}
