# The same image built once more, to be compared with the first.
{ callPackage, ... }@args:
(callPackage ./make-ext4-fs.nix (removeAttrs args [ "callPackage" ])).overrideAttrs {
  attempt = 2;
}
