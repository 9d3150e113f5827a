network {
  deny "example.com" { reason = "two\nlines" }
}
