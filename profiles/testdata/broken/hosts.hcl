network {
  allow "user:secret@example.com" {}
  allow "https://example.com/" {}
  allow "a.*.example.com" {}
  allow "*example.com" {}
  allow "*.10.0.0.1" {}
  allow "example..com" {}
  allow "under_score.example" {}
  allow "-a.example" {}
  allow "example.com\r\nX: y" {}
  allow "" {}
}
