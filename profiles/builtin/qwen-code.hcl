# qwen-code: Alibaba's Qwen Code, with your API key as a placeholder.
#
# It reaches the API of Alibaba Cloud's Model Studio (DashScope) and nothing else: no
# usage statistics, no updates, no login with a Qwen account, whose tokens would be in the
# jail. Export DASHSCOPE_API_KEY before the run: Qwen Code reads OPENAI_API_KEY, which is
# what it is called in the jail, so that a key of OpenAI's that you have exported never
# goes to Alibaba. OPENAI_BASE_URL and OPENAI_MODEL of yours, which may be about another
# service, don't get into the jail: --var endpoint=URL names another of the service's
# hosts, --model of Qwen Code or your settings the model.
description = "Qwen Code: Alibaba's model service with your key outside the jail, your settings copied in"
extends     = ["default"]

variable "endpoint" { default = "https://dashscope.aliyuncs.com/compatible-mode/v1" }

secret "dashscope" {
  env      = "DASHSCOPE_API_KEY"
  variable = "OPENAI_API_KEY"
  header   = "authorization"
  format   = "Bearer %s"
}

network {
  allow "dashscope" {
    hosts    = ["dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"]
    provider = "openai-compatible"
    secret   = secret.dashscope

    request "POST" "/compatible-mode/v1/chat/completions" {}
    request "GET" "/compatible-mode/v1/models" {}
  }

  # The same service with a monthly plan.
  allow "coding plan" {
    hosts    = ["coding.dashscope.aliyuncs.com", "coding-intl.dashscope.aliyuncs.com"]
    provider = "openai-compatible"
    secret   = secret.dashscope

    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }
}

files {
  exec = ["~/.local/bin", "~/.npm-global", "~/.nvm/versions", "~/.volta", "~/.bun/bin"]

  # Not oauth_creds.json, which is a login, no sessions and no extensions.
  home ".qwen/settings.json" { redact = true }
  home ".qwen/QWEN.md" { redact = true }
  home ".qwen/agents" { redact = true }
  home ".qwen/commands" { redact = true }
  home ".qwen/skills" { redact = true }
}

process {
  pass_env = ["PATH"]
  env = {
    OPENAI_BASE_URL        = var.endpoint
    QWEN_DEFAULT_AUTH_TYPE = "openai" # with a key
  }
}
