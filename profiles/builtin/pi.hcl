# pi: the pi coding agent, with the models that you have keys of.
#
# It reaches the services of the profile "models" whose variable is set, and nothing
# else: no version check, no telemetry, no downloads of helper programs and packages, no
# sharing of sessions.
description = "pi: model services with your keys outside the jail, your settings copied in"
extends     = ["models"]

files {
  exec = ["~/.local/bin", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # Not auth.json, which is a login, and no sessions.
  home ".pi/agent/settings.json" { redact = true }
  home ".pi/agent/models.json" { redact = true }
  home ".pi/agent/keybindings.json" { redact = true }
  home ".pi/agent/AGENTS.md" { redact = true }
  home ".pi/agent/prompts" { redact = true }
  home ".pi/agent/skills" { redact = true }
  home ".pi/agent/themes" { redact = true }
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
  env = {
    PI_OFFLINE            = "1" # nothing is fetched at the start; models are still called
    PI_SKIP_VERSION_CHECK = "1"
    PI_TELEMETRY          = "0"
  }
}
