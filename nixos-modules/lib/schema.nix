# Reading the JSON schema of a configuration. Pure.
#
# Values are accepted at least where pydantic accepts them: it also takes "48000" for an
# integer. What is not understood is accepted; the build validates everything.
rec {
  # Follow `$ref`; a reference's siblings (description, default) win.
  resolve =
    root: schema:
    if schema ? "$ref" then
      let
        name = builtins.match "#/\\$defs/(.*)" schema."$ref";
        target = if name == null then { } else (root."$defs" or { }).${builtins.head name} or { };
      in
      resolve root (target // removeAttrs schema [ "$ref" ])
    else if schema ? allOf && builtins.length schema.allOf == 1 then
      resolve root (builtins.head schema.allOf // removeAttrs schema [ "allOf" ])
    else
      schema;

  # -> { kind; nullable; schema; } with kind one of object, boolean, integer, number,
  # string, enum, array, json (anything).
  classify =
    root: given:
    let
      schema = resolve root given;
      isNull = member: (member.type or null) == "null";
      members = map (resolve root) (schema.anyOf or schema.oneOf or [ ]);
      others = builtins.filter (member: !(isNull member)) members;
      kinds = {
        boolean = "boolean";
        integer = "integer";
        number = "number";
        string = "string";
        array = "array";
      };
    in
    if members != [ ] then
      if builtins.length others == 1 then
        let
          only = classify root (builtins.head others);
        in
        only
        // {
          nullable = only.nullable || builtins.length others < builtins.length members;
          schema =
            only.schema
            // removeAttrs schema [
              "anyOf"
              "oneOf"
            ];
        }
      else
        {
          kind = "json";
          nullable = true;
          inherit schema;
        }
    else
      {
        inherit schema;
        nullable = false;
        kind =
          if schema ? enum || schema ? const then
            "enum"
          else if (schema.type or null) == "object" && schema ? properties then
            "object"
          else
            kinds.${if builtins.isString (schema.type or null) then schema.type else "?"} or "json";
      };

  # Settings that must be given: listed by `required`, and no default.
  isRequired = parent: name: builtins.elem name (parent.required or [ ]);

  # --- values

  # A reference to a credential may stand for any value.
  isReference = value: builtins.isAttrs value && builtins.attrNames value == [ "_secret" ];

  isNumber = value: builtins.isInt value || builtins.isFloat value;
  asNumber = builtins.match "[ ]*[-+]?[0-9_.]+([eE][-+]?[0-9]+)?[ ]*";
  isNumeral = value: builtins.isString value && asNumber value != null;
  truths = builtins.match "[ ]*(0|1|[oO][nN]|[oO][fF][fF]|[tT]|[tT][rR][uU][eE]|[fF]|[fF][aA][lL][sS][eE]|[yY]|[yY][eE][sS]|[nN]|[nN][oO])[ ]*";

  inRange =
    schema: value:
    (!(schema ? minimum) || value >= schema.minimum)
    && (!(schema ? maximum) || value <= schema.maximum)
    && (!(schema ? exclusiveMinimum) || value > schema.exclusiveMinimum)
    && (!(schema ? exclusiveMaximum) || value < schema.exclusiveMaximum);

  # classified setting -> value -> bool
  accepts =
    setting: value:
    let
      inherit (setting) schema kind;
    in
    isReference value
    || (value == null && setting.nullable)
    || (
      if kind == "integer" then
        (isNumber value && builtins.floor value == value && inRange schema value)
        || builtins.isBool value
        || isNumeral value
      else if kind == "number" then
        (isNumber value && inRange schema value) || builtins.isBool value || isNumeral value
      else if kind == "boolean" then
        builtins.isBool value
        || (isNumber value && (value == 0 || value == 1))
        || (builtins.isString value && truths value != null)
      else if kind == "enum" then
        # An enumeration may convert what it is given, except between these.
        builtins.elem value (schema.enum or [ schema.const ])
        || !(builtins.isString value && builtins.all builtins.isString (schema.enum or [ schema.const ]))
      else if kind == "string" then
        # Dates, times and durations are given as numbers too.
        builtins.isString value || (schema ? format && isNumber value)
      else if kind == "array" then
        builtins.isList value
      else if kind == "object" then
        builtins.isAttrs value
      else
        value != null || setting.nullable
    );

  # In words, for the option's type.
  describe =
    setting:
    let
      inherit (setting) schema kind;
      show = value: builtins.toJSON value;
      bounds = builtins.concatStringsSep " and " (
        (if schema ? minimum then [ "at least ${show schema.minimum}" ] else [ ])
        ++ (if schema ? exclusiveMinimum then [ "more than ${show schema.exclusiveMinimum}" ] else [ ])
        ++ (if schema ? maximum then [ "at most ${show schema.maximum}" ] else [ ])
        ++ (if schema ? exclusiveMaximum then [ "less than ${show schema.exclusiveMaximum}" ] else [ ])
      );
      ranged = word: if bounds == "" then word else "${word}, ${bounds}";
      words = {
        array = "list";
        boolean = "boolean";
        enum = "one of ${builtins.concatStringsSep ", " (map show (schema.enum or [ schema.const ]))}";
        integer = ranged "integer";
        json = "JSON value";
        number = ranged "number";
        object = "group";
        string =
          {
            path = "path, as a string";
            password = "secret: { _secret = \"NAME\"; }";
            time = "time of day, as in \"06:30:00\"";
            date = "date, as in \"2026-05-31\"";
            "date-time" = "date and time, as in \"2026-05-31T04:30:00Z\"";
          }
          .${schema.format or ""} or "string";
      };
    in
    (if setting.nullable && kind != "json" then "null or " else "") + words.${kind};

  # --- whole configurations

  # The schema's setting at a path of keys, null when there is none.
  at =
    root: keys:
    let
      go =
        setting: rest:
        if rest == [ ] then
          setting
        else if setting.kind == "object" && setting.schema.properties ? ${builtins.head rest} then
          go (classify root setting.schema.properties.${builtins.head rest}) (builtins.tail rest)
        else
          null;
    in
    go (classify root root) keys;

  # Drop what was left open: null where the schema does not allow it.
  prune =
    root: setting: value:
    if setting.kind == "object" && builtins.isAttrs value && !(isReference value) then
      let
        inherit (setting.schema) properties;
        keep =
          name:
          value.${name} != null || !(properties ? ${name}) || (classify root properties.${name}).nullable;
        kept = builtins.filter keep (builtins.attrNames value);
      in
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value =
            if properties ? ${name} then
              prune root (classify root properties.${name}) value.${name}
            else
              value.${name};
        }) kept
      )
    else
      value;

  # Values of settings that are paths and absolute: [ { key; value; } ].
  pathsIn =
    root: value:
    let
      go =
        setting: keys: it:
        if setting.kind == "object" && builtins.isAttrs it then
          builtins.concatLists (
            map (
              name:
              if setting.schema.properties ? ${name} then
                go (classify root setting.schema.properties.${name}) (keys ++ [ name ]) it.${name}
              else
                [ ]
            ) (builtins.attrNames it)
          )
        else if
          (setting.schema.format or "") == "path" && builtins.isString it && builtins.substring 0 1 it == "/"
        then
          [
            {
              key = builtins.concatStringsSep "." keys;
              value = it;
            }
          ]
        else
          [ ];
    in
    go (classify root root) [ ] value;
}
