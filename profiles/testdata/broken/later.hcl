network {
  ask "*" { reason = "a person decides" }
  host_port "5432" {}
  publish "3000" {}

  allow "api.example" {
    provider = "anthropic"
    sanitize = "html"
    request "GET" "/**" {
      spend = { model = 1 }
    }
  }
}

budget "model" { per_run = 5 }
approval { timeout = "2m" }
on "escape" { action = "freeze" }
test "x" { connect = "a.example:443" }

files {
  home ".npm" { from = "~/.npm" }
}

process {
  deny "sudo" { reason = "no escalation" }
  ask "git" "push" {}
  limit "curl" { rate = "2/m" }
}

audit { otlp = "http://127.0.0.1:4318" }
