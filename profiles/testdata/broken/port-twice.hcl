network {
  allow "github.com:22" {
    ports = [443]
  }
}
