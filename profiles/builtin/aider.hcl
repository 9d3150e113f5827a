# aider: aider, with the models that you have keys of.
#
# It reaches the services of the profile "models" whose variable is set, and nothing
# else: no analytics, no version check, no table of prices from a code host, no pages
# that it is asked to read (add those hosts). It has not been run by agentjail's tests,
# which have only agents that are npm packages: what stands here is from its manual.
description = "aider: model services with your keys outside the jail, your settings copied in"
extends     = ["models"]

files {
  # Where pip, pipx, uv and its own installer put it.
  exec = ["~/.local/bin", "~/.local/pipx/venvs", "~/.local/share/pipx/venvs", "~/.local/share/uv", "~/.local/lib", "~/.pyenv/versions"]

  # The history is in the workspace, and so is what it writes of it.
  home ".aider.conf.yml" { redact = true }
  home ".aider.model.settings.yml" { redact = true }
  home ".aider.model.metadata.json" { redact = true }
}

process {
  pass_env = ["PATH", "AIDER_MODEL", "AIDER_WEAK_MODEL", "AIDER_EDITOR_MODEL", "AIDER_EDIT_FORMAT"]
  env = {
    AIDER_ANALYTICS_DISABLE      = "true"
    AIDER_CHECK_UPDATE           = "false"
    LITELLM_LOCAL_MODEL_COST_MAP = "True" # the prices that came with it
  }
}
