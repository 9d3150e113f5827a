# opencode: opencode, with the models that you have keys of.
#
# It reaches the services of the profile "models" whose variable is set, and nothing
# else: no updates, no list of models from its maker (it has one built in), no sharing of
# sessions, no plugins and language servers from package registries.
description = "opencode: model services with your keys outside the jail, your settings copied in"
extends     = ["models"]

files {
  exec = ["~/.local/bin", "~/.opencode/bin", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # Not ~/.local/share/opencode, where auth.json is a login and the sessions are.
  home ".config/opencode/opencode.json" { redact = true }
  home ".config/opencode/opencode.jsonc" { redact = true }
  home ".config/opencode/AGENTS.md" { redact = true }
  home ".config/opencode/agent" { redact = true }
  home ".config/opencode/agents" { redact = true }
  home ".config/opencode/command" { redact = true }
  home ".config/opencode/commands" { redact = true }
  home ".config/opencode/skills" { redact = true }
  home ".config/opencode/themes" { redact = true }
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
  env = {
    OPENCODE_DISABLE_AUTOUPDATE      = "1"
    OPENCODE_DISABLE_DEFAULT_PLUGINS = "1" # they are downloaded, and log in to accounts
    OPENCODE_DISABLE_LSP_DOWNLOAD    = "1"
    OPENCODE_DISABLE_MODELS_FETCH    = "1"
    OPENCODE_DISABLE_SHARE           = "1"
  }
}
