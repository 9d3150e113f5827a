network {
  allow "api.example" {
    sanitize = "pdf"
    fault "statis" { rate = 1 }
    fault "boom" { rate = 1 }
    fault "status" {}
    fault "status" {
      rate   = 1.5
      status = 199
    }
    fault "delay" {
      rate  = "1/10"
      delay = "2h"
      after = "1KiB"
    }
    fault "truncate" {
      rate  = 0
      after = 7
      seed  = -1
    }
    fault "reset" { rate = 1/0 }
    fault {}
  }
  allow "ssh.example:22" {
    sanitize = "html"
    fault "reset" { rate = 1 }
  }
}
