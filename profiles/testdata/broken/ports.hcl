network {
  allow "a.example" { ports = [0, 443, 65536] }
  allow "b.example" { ports = [8000-8010] }
  allow "c.example" { ports = ["443"] }
  allow "d.example" { ports = [] }
  deny  "e.example:0" {}
}
