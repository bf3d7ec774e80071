# Secrets are given as `{ _secret = "NAME"; }` and credentials, never written out. Pure.
rec {
  split = dotted: builtins.filter builtins.isString (builtins.split "\\." dotted);

  # The value at a path of keys; null when it is not there.
  valueAt =
    value: keys:
    if keys == [ ] then
      value
    else if builtins.isAttrs value && value ? ${builtins.head keys} then
      valueAt value.${builtins.head keys} (builtins.tail keys)
    else
      null;

  # Dotted keys (of `secretKeys`) that hold a secret in plain text.
  literals =
    secretKeys: settings:
    builtins.filter (
      key:
      let
        value = valueAt settings (split key);
      in
      value != null && !(builtins.isAttrs value && value ? _secret)
    ) secretKeys;

  # Names of the credentials that a value refers to, each once, sorted.
  references =
    value:
    let
      go =
        it:
        if builtins.isAttrs it then
          if builtins.attrNames it == [ "_secret" ] then
            [ it._secret ]
          else
            builtins.concatMap go (builtins.attrValues it)
        else if builtins.isList it then
          builtins.concatMap go it
        else
          [ ];
    in
    builtins.attrNames (
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = null;
        }) (go value)
      )
    );

  # A broker's URL with a password in it.
  hasPassword = url: builtins.isString url && builtins.match "[a-z+]+://[^/@]*:[^/@]+@.*" url != null;
}
