# cursor-agent: Cursor's command line agent, confined, and without a network.
#
# What it asks of Cursor's servers is nowhere written down, and it has not been run by
# agentjail's tests. What is known speaks against a profile that works by itself: the key
# (CURSOR_API_KEY) is exchanged for a token of the account, which comes back in an answer
# and would be in the jail, where no placeholder can stand for it. So this profile gives
# the program and your settings, and no host: that would be a guess, and a wide one.
#
# Whoever accepts a token in the jail extends it, watches what it asks for with
# `agentjail learn`, and writes the requests that it needs:
#
#   extends = ["cursor-agent"]
#
#   secret "cursor" {
#     env    = "CURSOR_API_KEY"
#     header = "authorization"
#     format = "Bearer %s"
#   }
#
#   network {
#     allow "api2.cursor.sh" {
#       secret = secret.cursor
#       request "POST" "/auth/exchange_user_api_key" {}
#     }
#   }
description = "Cursor's agent without a network: what it needs is not known, and nothing is guessed"
extends     = ["default"]

files {
  exec = ["~/.local/bin", "~/.local/share/cursor-agent"]

  # Not auth.json, which is a login, and no chats.
  home ".cursor/cli-config.json" { redact = true }
  home ".cursor/rules" { redact = true }
  home ".cursor/commands" { redact = true }
}
