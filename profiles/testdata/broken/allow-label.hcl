network {
  allow {}
  deny "a.example" "b.example" {}
}
