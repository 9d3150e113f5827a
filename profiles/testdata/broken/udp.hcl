network {
  allow "ntp.example.com" { protocol = "udp" }
  allow "quic.example.com:443" {
    protocol = "udp"
    request "GET" "/**" {}
  }
  allow "dns.example.com:53" {
    protocol = "udp"
    secret   = secret.key
  }
}

secret "key" {
  env    = "KEY"
  header = "x-api-key"
}
