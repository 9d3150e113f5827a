network {
  allow "example.com" { protocol = "https" }
  allow "example.org" { protocol = "tpc" }
  deny "example.net" { protocol = "tls" }
}
