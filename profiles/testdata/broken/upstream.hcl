network {
  allow "a.example" { upstream = "127.0.0.1" }
  allow "b.example" { upstream = "*.example:443" }
  allow "c.example" { upstream_ca = "/etc/ca.pem" }
  allow "d.example" {
    protocol    = "tcp"
    upstream    = "127.0.0.1:443"
    upstream_ca = "~other/ca.pem"
  }
  deny "e.example" { upstream = "127.0.0.1:443" }
}
