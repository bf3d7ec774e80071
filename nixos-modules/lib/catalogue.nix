# Programs as `acoupi catalogue` describes them: workers, schema, secrets. Pure.
let
  version = 1;
in
rec {
  # A catalogue's file -> its programs; what it cannot be is said with the remedy.
  read =
    file:
    let
      content = builtins.fromJSON (builtins.readFile file);
    in
    if !(builtins.isAttrs content && content ? version && content ? programs) then
      throw "${toString file} is not a catalogue: make one with `acoupi catalogue MODULE > FILE`"
    else if content.version != version then
      throw "${toString file} is a catalogue of version ${toString content.version}, this module reads version ${toString version}: make it anew with `acoupi catalogue MODULE > FILE`"
    else
      content;

  # Catalogues (shipped first) -> programs by module; later ones win.
  programsOf = builtins.foldl' (all: file: all // (read file).programs) { };

  # What stands for a program that no catalogue has, so that the assertion that says so
  # is reached.
  unknown = {
    schema = { };
    secrets = [ ];
    workers = [ ];
  };
  find = programs: name: programs.${name} or unknown;
}
