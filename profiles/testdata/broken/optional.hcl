secret "printed" {
  command  = ["pass", "show", "x"]
  header   = "x-key"
  optional = true
}
secret "there" {
  env      = "THERE"
  header   = "x-key"
  optional = true
}
secret "a" {
  env      = "A"
  header   = "x-key"
  optional = "yes"
}

network {
  allow "both.example" {
    ports  = [80, 443]
    secret = secret.there
  }
  allow "shells.example" {
    ports  = [443, 22]
    secret = [secret.a, secret.there]
  }
}
