# An ext4 image of a store and some files, for `sdImage.rootFilesystemCreator`: the same
# bytes for the same input. What would vary is fixed in make-ext4.sh.
{
  lib,
  pkgs,
  e2fsprogs,
  fakeroot,
  libfaketime,
  zstd,
  storePaths,
  volumeLabel,
  uuid ? "6f7ad9a4-5b0c-4b6e-8c0a-3f0a6c0e1b01",
  compressImage ? false,
  populateImageCommands ? "",
  ...
}:
let
  closure = pkgs.buildPackages.closureInfo { rootPaths = storePaths; };
in
pkgs.stdenv.mkDerivation {
  name = "ext4-fs.img${lib.optionalString compressImage ".zst"}";
  nativeBuildInputs = [
    e2fsprogs
    fakeroot
    libfaketime
  ]
  ++ lib.optional compressImage zstd;

  buildCommand = ''
    mkdir -p files tree/nix/store
    ${populateImageCommands}
    xargs -I % cp -a --reflink=auto % -t tree/nix/store/ <${closure}/store-paths
    cp -a --reflink=auto files/. tree/
    cp ${closure}/registration tree/nix-path-registration

    image=${if compressImage then "root.img" else "$out"}
    bash ${./make-ext4.sh} tree "$image" ${lib.escapeShellArg volumeLabel} ${lib.escapeShellArg uuid}
    ${lib.optionalString compressImage ''zstd --no-progress -T$NIX_BUILD_CORES "$image" -o "$out"''}
  '';
}
