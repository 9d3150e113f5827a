network {
  allow "list" {
    hosts = ["example.com\u0000.evil.example"]
  }
}
