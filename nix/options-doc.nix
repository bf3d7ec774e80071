# docs/options.md, from the module itself and the catalogue of programs. Needs nixpkgs' lib
# only:
#   nix-instantiate --eval --json -E 'import nix/options-doc.nix { lib = ...; }'
{ lib }:
let
  document = import ../nixos-modules/lib/document.nix;
  catalogue = (import ../nixos-modules/lib/catalogue.nix).read ../nixos-modules/catalogue.json;

  evaluated = lib.evalModules {
    modules = [
      ../nixos-modules/options.nix
      ../nixos-modules/appliance/options.nix
      {
        _module.check = false;
        _module.args.pkgs = throw "an option's documentation must not depend on packages";
      }
    ];
  };
  options = lib.filter (
    option: option.visible != false && !option.internal && lib.hasPrefix "services.acoupi" option.name
  ) (lib.optionAttrSetToDocList evaluated.options);

  # Roles of the module system's Markdown, as plain Markdown.
  plain =
    text:
    lib.trim (
      lib.replaceStrings
        [
          "{option}"
          "{manpage}"
        ]
        [
          ""
          ""
        ]
        text
    );

  value =
    title: it:
    let
      text = it.text or (toString it);
    in
    if it._type or "" == "literalMD" then
      [
        ""
        "${title}: ${text}"
      ]
    else if lib.hasInfix "\n" text then
      [
        ""
        "${title}:"
        ""
        "```nix"
        text
        "```"
      ]
    else
      [
        ""
        "${title}: `${text}`"
      ];

  isOfTheAppliance = option: lib.hasPrefix "services.acoupi.appliance." option.name;
  parts = lib.partition isOfTheAppliance options;

  section =
    option:
    [
      ""
      "### `${option.name}`"
      ""
      (plain option.description)
      ""
      "Type: ${option.type}${lib.optionalString option.readOnly " (read only)"}"
    ]
    ++ lib.optionals (option ? default) (value "Default" option.default)
    ++ lib.optionals (option ? example) (value "Example" option.example);
in
lib.concatStringsSep "\n" (
  [
    "<!-- Made from nixos-modules/ by nix/options-doc.nix: `nix/update.sh`. -->"
    "# Options of the NixOS module"
    ""
    "The smallest sensor is `services.acoupi.enable = true;`. What is wrong in the settings"
    "fails the build of the system, with the message of the command line."
    ""
    "## Options"
  ]
  ++ lib.concatMap section parts.wrong
  ++ [
    ""
    "## Options of the appliance"
    ""
    "With `nixosModules.appliance` or the image for cards ([image.md](image.md))."
  ]
  ++ lib.concatMap section parts.right
  ++ [
    ""
    "## `services.acoupi.celery`"
    ""
  ]
  ++ document.settings catalogue.celery
  ++ [
    ""
    "## `services.acoupi.settings`, by program"
    ""
    "A default that is *the program's* depends on the sensor: its home, its system."
  ]
  ++ document.programs catalogue
  ++ [ "" ]
)
