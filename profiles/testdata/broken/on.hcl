on "escpae" { action = "stop" }
on "escape" {}
on "limit" { action = "explode" }
on "budget" { action = "stop" }
on "budget" { action = "kill" }
on "anomaly" {
  command = []
  webhook = "ftp://x.example/y"
}
on { action = "log" }
