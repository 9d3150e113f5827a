netwrok {
  allow "example.com" {}
}
