network {
  allow "none" { hosts = [] }
  allow "text" { hosts = "example.com" }
  allow "number" {
    hosts = [
      "example.com",
      443,
    ]
  }
  deny "null" { hosts = null }
}
