network {
  allow "api.example.com" { provider = "antropic" }
  allow "git.example.com:22" { provider = "openai" }
  allow "npm" { like = "npm" }
  allow "claude" { like = "claud" }
}

secret "a" { like = "opnai" }
secret "b" {
  like   = "openai"
  env    = "A"
  file   = "b"
}
secret "c" {
  like   = "github-git"
  env    = "A"
  format = "%s"
}
secret "d" {}
