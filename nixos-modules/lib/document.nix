# The settings of programs as Markdown tables, from their schemas. Pure.
let
  schemas = import ./schema.nix;
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    replaceStrings
    toJSON
    ;

  cell =
    replaceStrings
      [
        "\n"
        "|"
        "<"
      ]
      [
        " "
        "\\|"
        "&lt;"
      ];

  defaultOf =
    parent: name: setting:
    if setting.schema ? default then
      "`${cell (toJSON setting.schema.default)}`"
    else if setting.kind == "object" then
      ""
    else if schemas.isRequired parent name then
      "must be given"
    else
      "the program's";

  rows =
    root: parent: prefix:
    concatMap (
      name:
      let
        setting = schemas.classify root parent.properties.${name};
        key = prefix + name;
        isGroup = setting.kind == "object";
        own = "| `${key}` | ${cell (schemas.describe setting)} | ${defaultOf parent name setting} | ${
          cell (setting.schema.description or "")
        } |";
      in
      [ own ] ++ (if isGroup then rows root setting.schema "${key}." else [ ])
    ) (attrNames parent.properties);
in
{
  # Schema -> lines of a table.
  settings =
    schema:
    [
      "| Setting | Type | Default | What it is |"
      "|---|---|---|---|"
    ]
    ++ rows schema schema "";

  # Catalogue -> lines of a chapter.
  programs =
    catalogue:
    concatMap (
      module:
      let
        program = catalogue.programs.${module};
        names = map (worker: "`acoupi-worker-${worker.name}`") program.workers;
      in
      [
        ""
        "### `${module}`"
        ""
        "Services: ${concatStringsSep ", " names}, `acoupi-beat`."
        ""
      ]
      ++ (import ./document.nix).settings program.schema
    ) (attrNames catalogue.programs);
}
