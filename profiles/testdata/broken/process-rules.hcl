process {
  deny "" {}
  deny {}
  deny "./x" {}
  deny "/usr/../bin/x" {}
  deny "git*" {}
  deny "sudo" { rate = "1/m" }
  ask "git" "push" { args = ["pull"] }
  limit "curl" {}
  limit "curl" { rate = "often" }
  limit "curl" { rate = "0/m" }
  exec_new = "never"
  terminal = "raw"
}
