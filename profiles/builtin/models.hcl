# models: the services of language models, each only if you have a key of it.
#
# For agents that work with several of them, which stand on it. Export the variable of
# the service that you use, and no other: a service whose variable is not set is refused,
# and one whose variable is set may be called at your cost. The real key is put into
# requests outside the jail; in the jail the variable holds a placeholder. Only calls of
# models and the lists of models are let through: no files, no fine-tuning, no accounts.
description = "Model services, each in force where its key is set"
extends     = ["default"]

secret "anthropic" {
  like     = "anthropic"
  optional = true
}

secret "openai" {
  like     = "openai"
  optional = true
}

secret "gemini" {
  like     = "gemini"
  optional = true
}

secret "openrouter" {
  like     = "openrouter"
  optional = true
}

secret "mistral" {
  like     = "mistral"
  optional = true
}

secret "deepseek" {
  like     = "deepseek"
  optional = true
}

secret "groq" {
  like     = "groq"
  optional = true
}

secret "xai" {
  like     = "xai"
  optional = true
}

secret "together" {
  like     = "together"
  optional = true
}

secret "fireworks" {
  like     = "fireworks"
  optional = true
}

secret "cerebras" {
  like     = "cerebras"
  optional = true
}

secret "moonshot" {
  like     = "moonshot"
  optional = true
}

network {
  allow "api.anthropic.com" {
    provider = "anthropic"
    secret   = secret.anthropic

    request "POST" "/v1/messages" {}
    request "POST" "/v1/messages/count_tokens" {}
    request "GET" "/v1/models" {}
    request "GET" "/v1/models/*" {}
  }

  allow "api.openai.com" {
    provider = "openai"
    secret   = secret.openai

    request "POST" "/v1/responses" {}
    request "GET" "/v1/responses" {} # a WebSocket
    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
    request "GET" "/v1/models/*" {}
  }

  # The key goes in a header. A program that puts it into the address (?key=) is refused.
  allow "generativelanguage.googleapis.com" {
    provider = "gemini"
    secret   = secret.gemini

    request "POST" "/*/models/*:generateContent" {}
    request "POST" "/*/models/*:streamGenerateContent" {}
    request "POST" "/*/models/*:countTokens" {}
    request "GET" "/*/models" {}
    request "GET" "/*/models/*" {}
    request "POST" "/v1beta/openai/chat/completions" {}
  }

  allow "openrouter.ai" {
    provider = "openai-compatible"
    secret   = secret.openrouter

    request "POST" "/api/v1/chat/completions" {}
    request "GET" "/api/v1/models" {}
  }

  allow "api.mistral.ai" {
    provider = "openai-compatible"
    secret   = secret.mistral

    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }

  allow "api.deepseek.com" {
    provider = "openai-compatible"
    secret   = secret.deepseek

    request "POST" "/chat/completions" {}
    request "POST" "/v1/chat/completions" {}
    request "GET" "/models" {}
    request "GET" "/v1/models" {}
  }

  allow "api.groq.com" {
    provider = "openai-compatible"
    secret   = secret.groq

    request "POST" "/openai/v1/chat/completions" {}
    request "GET" "/openai/v1/models" {}
  }

  allow "api.x.ai" {
    provider = "openai-compatible"
    secret   = secret.xai

    request "POST" "/v1/chat/completions" {}
    request "POST" "/v1/responses" {}
    request "GET" "/v1/models" {}
  }

  allow "together" {
    hosts    = ["api.together.xyz", "api.together.ai"]
    provider = "openai-compatible"
    secret   = secret.together

    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }

  allow "api.fireworks.ai" {
    provider = "openai-compatible"
    secret   = secret.fireworks

    request "POST" "/inference/v1/chat/completions" {}
    request "GET" "/inference/v1/models" {}
  }

  allow "api.cerebras.ai" {
    provider = "openai-compatible"
    secret   = secret.cerebras

    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }

  allow "api.moonshot.ai" {
    provider = "openai-compatible"
    secret   = secret.moonshot

    request "POST" "/v1/chat/completions" {}
    request "GET" "/v1/models" {}
  }
}
