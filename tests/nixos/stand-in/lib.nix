# The functions of nixpkgs' `lib` that the module uses, written anew for machines without
# nixpkgs. What they cannot do is left out: a test that gets further has one added.
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    isAttrs
    isList
    length
    listToAttrs
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    ;
in
rec {
  inherit
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    listToAttrs
    mapAttrs
    ;
  inherit (builtins)
    any
    all
    attrValues
    foldl'
    head
    isString
    toJSON
    ;

  # --- lists
  concatStrings = concatStringsSep "";
  concatMapStringsSep =
    separator: make: list:
    concatStringsSep separator (map make list);
  findFirst =
    predicate: default: list:
    let
      found = filter predicate list;
    in
    if found == [ ] then default else builtins.head found;
  naturalSort = builtins.sort (a: b: a < b);
  optional = condition: it: if condition then [ it ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  reverseList = list: builtins.genList (n: elemAt list (length list - n - 1)) (length list);
  take =
    count: list: builtins.genList (elemAt list) (if count < length list then count else length list);
  unique = builtins.foldl' (found: it: if elem it found then found else found ++ [ it ]) [ ];

  # --- sets
  collect =
    predicate: set:
    if predicate set then
      [ set ]
    else if isAttrs set then
      concatMap (collect predicate) (builtins.attrValues set)
    else
      [ ];
  filterAttrs =
    predicate: set:
    listToAttrs (
      concatMap (name: optional (predicate name set.${name}) (nameValuePair name set.${name})) (
        attrNames set
      )
    );
  mapAttrs' = make: set: listToAttrs (map (name: make name set.${name}) (attrNames set));
  mapAttrsToList = make: set: map (name: make name set.${name}) (attrNames set);
  genAttrs = names: make: listToAttrs (map (name: nameValuePair name (make name)) names);
  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = condition: set: if condition then set else { };

  # --- strings
  escapeRegex =
    let
      special = [
        "\\"
        "^"
        "$"
        "."
        "|"
        "?"
        "*"
        "+"
        "("
        ")"
        "["
        "]"
        "{"
        "}"
      ];
    in
    replaceStrings special (map (letter: "\\" + letter) special);
  escapeShellArg =
    value:
    let
      text = toString value;
    in
    if match "[[:alnum:],._+:@%/-]+" text != null then
      text
    else
      "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  hasInfix =
    part: text: match ".*${escapeRegex part}.*" (replaceStrings [ "\n" ] [ " " ] text) != null;
  hasPrefix = start: text: substring 0 (stringLength start) text == start;
  hasSuffix =
    end: text:
    let
      before = stringLength text - stringLength end;
    in
    before >= 0 && substring before (stringLength end) text == end;
  makeBinPath = concatMapStringsSep ":" (package: "${package}/bin");
  optionalString = condition: text: if condition then text else "";
  removePrefix =
    start: text:
    if hasPrefix start text then substring (stringLength start) (stringLength text) text else text;

  # --- options and modules
  literalExpression = text: text;
  literalMD = text: text;
  mergeEqualOption = null;
  mkEnableOption =
    description:
    mkOption {
      inherit description;
      default = false;
    };
  mkOption = option: option // { _type = "option"; };
  mkOptionType = type: type;
  mkRenamedOptionModule = _: _: { };
  types = { }; # never asked for: nothing is checked here

  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };

  # Modules -> their configuration. Each is a function of { config, lib, ... } or a set,
  # with `options`, `config` and `imports`, or with the configuration itself.
  evaluate =
    arguments: modules:
    let
      call = it: if builtins.isFunction it then it (arguments // { inherit config lib; }) else it;
      lib = import ./lib.nix;
      load = it: if builtins.isPath it then call (import it) else call it;
      all = concatMap (
        it:
        let
          module = load it;
        in
        [ module ] ++ concatMap loadAll (module.imports or [ ])
      ) modules;
      loadAll =
        it:
        let
          module = load it;
        in
        [ module ] ++ concatMap loadAll (module.imports or [ ]);

      options = builtins.foldl' joined { } (map (it: it.options or { }) all);
      given = map (
        it:
        if it ? config || it ? options then
          it.config or { }
        else
          removeAttrs it [
            "imports"
            "_file"
          ]
      ) all;
      config = merged (joined outline options) (concatMap (properties 100 true) given);
    in
    config;

  # Of NixOS' own options there are no declarations here: sets whose names do not depend
  # on what is in them.
  outline = genAttrs [
    "boot"
    "environment"
    "networking"
    "nix"
    "security"
    "services"
    "system"
    "systemd"
    "time"
    "users"
  ] (_: { });

  joined =
    a: b:
    a
    // mapAttrs (
      name: value: if a ? ${name} && !(isOption value) then joined a.${name} value else value
    ) b;
  isOption = it: isAttrs it && it._type or null == "option";

  # A value -> what it is made of: { priority, active, value }; whether a condition holds
  # is not asked before it matters.
  properties =
    priority: active: value:
    let
      type = if isAttrs value then value._type or null else null;
    in
    if type == "if" then
      properties priority (active && value.condition) value.content
    else if type == "merge" then
      concatMap (properties priority active) value.contents
    else if type == "override" then
      properties value.priority active value.content
    else
      [ { inherit priority active value; } ];

  # Down to the options, the names are known without asking for conditions.
  merged =
    options: definitions:
    let
      sets = filter (it: isAttrs it.value) definitions;
      names = unique (attrNames options ++ concatMap (it: attrNames it.value) sets);
      below =
        name:
        concatMap (
          it: if it.value ? ${name} then properties it.priority it.active it.value.${name} else [ ]
        ) sets;
    in
    listToAttrs (
      map (
        name:
        let
          option = options.${name} or null;
          default = optional (option ? default) {
            priority = 1500;
            active = true;
            value = option.default;
          };
          value =
            if isOption option then
              (option.apply or (it: it)) (leaf name (default ++ below name))
            else if option != null then
              merged option (below name)
            else
              leaf name (below name);
        in
        nameValuePair name value
      ) names
    );
  # The value of an option, from all that is said of it.
  leaf =
    name: definitions:
    let
      active = filter (it: it.active) definitions;
      least = builtins.foldl' (least: it: if it.priority < least then it.priority else least) 9999 active;
      best = map (it: it.value) (filter (it: it.priority == least) active);
      areSets = builtins.all (it: isAttrs it.value && !(it.value ? outPath)) active;
      names = unique (concatMap (it: attrNames it.value) active);
      parts =
        key:
        filter (it: it.active) (
          concatMap (
            it: if it.value ? ${key} then properties it.priority true it.value.${key} else [ ]
          ) active
        );
    in
    if active == [ ] then
      throw "nothing is said of ${name}"
    else if areSets then
      listToAttrs (
        concatMap (key: optional (parts key != [ ]) (nameValuePair key (leaf key (parts key)))) names
      )
    else if builtins.all isList best then
      concatLists best
    else
      builtins.head best;
}
