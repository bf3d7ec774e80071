# From JSON schemas to options, so that editors and evaluation know the settings. Needs
# nixpkgs' lib.
{ lib }:
let
  schemas = import ./schema.nix;

  # As `pkgs.formats.json`, without pkgs.
  json =
    lib.types.nullOr (
      lib.types.oneOf [
        lib.types.bool
        lib.types.int
        lib.types.float
        lib.types.str
        (lib.types.attrsOf json)
        (lib.types.listOf json)
      ]
    )
    // {
      description = "JSON value";
    };

  leaf =
    setting:
    if setting.kind == "json" then
      json
    else
      lib.mkOptionType {
        name = "acoupiSetting";
        description = schemas.describe setting;
        descriptionClass = "noun";
        check = schemas.accepts setting;
        merge = lib.mergeEqualOption;
      };

  group =
    root: setting:
    lib.types.submodule {
      freeformType = lib.types.attrsOf json;
      options = lib.mapAttrs (option root setting.schema) setting.schema.properties;
    };

  option =
    root: parent: name: given:
    let
      setting = schemas.classify root given;
      isGroup = setting.kind == "object";
      base = if isGroup then group root setting else leaf setting;
      # A default that depends on the sensor is the program's: null stands for it.
      isOpen = !isGroup && !(setting.schema ? default) && !(schemas.isRequired parent name);
      type =
        if isGroup && setting.nullable || !isGroup && isOpen && !setting.nullable then
          lib.types.nullOr base
        else
          base;
    in
    lib.mkOption (
      {
        inherit type;
        description = setting.schema.description or "Setting `${name}` of the program.";
      }
      // lib.optionalAttrs (setting.schema ? default) { inherit (setting.schema) default; }
      // lib.optionalAttrs (isGroup && !(setting.schema ? default) && !setting.nullable) {
        default = { };
      }
      // lib.optionalAttrs isOpen { default = null; }
    );
in
{
  inherit json;

  # Schema of a whole configuration -> type.
  configuration =
    schema:
    let
      setting = schemas.classify schema schema;
    in
    if setting.kind == "object" then group schema setting else lib.types.attrsOf json;

  # Where something is on the sensor. A path literal would be copied to the store, which
  # everybody can read: only strings are taken.
  placeOnSensor = lib.mkOptionType {
    name = "placeOnSensor";
    description = "absolute path on the sensor, as a string and outside the Nix store";
    descriptionClass = "noun";
    check =
      value: lib.isString value && lib.hasPrefix "/" value && !lib.hasPrefix builtins.storeDir value;
    merge = lib.mergeEqualOption;
  };
}
