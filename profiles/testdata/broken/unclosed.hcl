network {
  allow "example.com" {
