network {
  allow "10.0.0.0/33" {}
  allow "10.0.0.1/8" {}
  allow "10.0.0.0/8:5432" {}
  allow "::ffff:10.0.0.0/90" {}
  allow "example.com/path" {}
}
