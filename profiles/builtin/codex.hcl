# codex: OpenAI's Codex CLI, with your API key as a placeholder.
#
# It reaches the OpenAI API and nothing else. Codex also offers the key to chatgpt.com;
# that host is refused, and the key that it would get is the placeholder. Export
# CODEX_API_KEY before the run. Run it without its own sandbox: it is in one.
description = "Codex: the OpenAI API with your key outside the jail, your settings copied in"
extends     = ["default"]

secret "openai" {
  like = "openai"
  env  = "CODEX_API_KEY"
}

network {
  allow "api.openai.com" {
    provider = "openai"
    secret   = secret.openai

    request "POST" "/v1/responses" {}
    request "GET" "/v1/responses" {} # the WebSocket that it tries first
    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }
}

files {
  exec = ["~/.local/bin", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # Not auth.json, which is a login, and no sessions.
  home ".codex/config.toml" { redact = true }
  home ".codex/AGENTS.md" { redact = true }
  home ".codex/prompts" { redact = true }
  home ".codex/skills" { redact = true }
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
}
