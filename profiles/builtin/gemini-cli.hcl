# gemini-cli: Google's Gemini CLI, with your API key as a placeholder.
#
# It reaches the Gemini API and nothing else: no usage statistics, no updates, no Vertex
# AI and no login with a Google account, whose tokens would be in the jail. Export
# GEMINI_API_KEY before the run. Run it without its own sandbox: it is in one.
description = "Gemini CLI: the Gemini API with your key outside the jail, your settings copied in"
extends     = ["default"]

secret "gemini" {
  like = "gemini"
}

network {
  allow "generativelanguage.googleapis.com" {
    provider = "gemini"
    secret   = secret.gemini

    request "POST" "/*/models/*:generateContent" {}
    request "POST" "/*/models/*:streamGenerateContent" {}
    request "POST" "/*/models/*:countTokens" {}
    request "POST" "/*/models/*:embedContent" {}
    request "POST" "/*/models/*:batchEmbedContents" {}
    request "GET" "/*/models" {}
    request "GET" "/*/models/*" {}
  }
}

files {
  exec = ["~/.local/bin", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # Not oauth_creds.json and google_accounts.json, which are a login, no history, and no
  # extensions, which bring servers and keys of their own.
  home ".gemini/settings.json" { redact = true }
  home ".gemini/GEMINI.md" { redact = true }
  home ".gemini/commands" { redact = true }
  home ".gemini/skills" { redact = true }
}

process {
  # Which model, as you set it; and a key is how it signs in, whatever it is set to.
  pass_env = ["PATH", "GEMINI_MODEL"]
  env = {
    GEMINI_DEFAULT_AUTH_TYPE = "gemini-api-key"
    GEMINI_TELEMETRY_ENABLED = "false"
  }
}
