# goose: Block's goose, with the models that you have keys of.
#
# It reaches the services of the profile "models" whose variable is set, and nothing
# else: no telemetry, no updates, no extensions from package registries, no model server
# of your own (add it as an allow or a host_port). Its secrets in your keyring and in
# secrets.yaml stay outside: export the variable of the service. It has not been run by
# agentjail's tests, which have only agents that are npm packages: what stands here is
# from its manual.
description = "goose: model services with your keys outside the jail, your settings copied in"
extends     = ["models"]

files {
  exec = ["~/.local/bin"]

  # Not secrets.yaml, and no sessions (~/.local/share/goose).
  home ".config/goose/config.yaml" { redact = true }
  home ".config/goose/.goosehints" { redact = true }
  home ".config/goose/recipes" { redact = true }
}

process {
  pass_env = ["PATH", "GOOSE_PROVIDER", "GOOSE_MODEL", "GOOSE_MODE", "GOOSE_MAX_TURNS"]
  env = {
    GOOSE_DISABLE_KEYRING   = "1" # there is none in the jail
    GOOSE_TELEMETRY_ENABLED = "false"
  }
}
