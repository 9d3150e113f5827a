# claude-code: Anthropic's Claude Code, with your API key as a placeholder.
#
# It reaches the Anthropic API and nothing else: no telemetry, no updates, no plugin
# market. Your key is put into requests outside the jail; export ANTHROPIC_API_KEY
# before the run. Your settings, memory files, commands and agents are copied in, your
# sessions and your login are not.
description = "Claude Code: the Anthropic API with your key outside the jail, your settings copied in"
extends     = ["default"]

secret "anthropic" {
  like = "anthropic"
}

network {
  allow "api.anthropic.com" {
    provider = "anthropic"
    secret   = secret.anthropic

    request "POST" "/v1/messages" {}
    request "POST" "/v1/messages/count_tokens" {}
    request "GET" "/v1/models" {}
    request "GET" "/v1/models/*" {}
    request "GET" "/api/hello" {} # is it there? It asks both before its first screen
  }

  allow "platform.claude.com" {
    request "GET" "/v1/oauth/hello" {}
  }
}

files {
  # Where npm, Anthropic's installer and version managers put it.
  exec = ["~/.local/bin", "~/.local/share/claude", "~/.claude/local", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # What you set up, without what Claude Code keeps of you: the login, history,
  # sessions and projects stay outside.
  home ".claude/settings.json" { redact = true }
  home ".claude/CLAUDE.md" { redact = true }
  home ".claude/commands" { redact = true }
  home ".claude/agents" { redact = true }
  home ".claude/skills" { redact = true }
  home ".claude/output-styles" { redact = true }
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
  env = {
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = "1" # telemetry, error reports, updates
    DISABLE_AUTOUPDATER                      = "1"
  }
}
