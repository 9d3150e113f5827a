network {
  ask "" {}
  ask "exa mple.com" {}
  ask "a.example" { ports = [] }
  ask "b.example:22" { ports = [443] }
  ask "c.example" { protocol = "ftp" }
  ask "d.example" { secret = "x" }
  ask "e.example" {
    request "GET" "/**" {}
  }
  ask {}
}
