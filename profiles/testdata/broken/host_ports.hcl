network {
  host_port "5432:5433" {}
  host_port "0" {}
  host_port "05432" {}
  host_port "postgres" {}
  host_port "70000" {}
  host_port "6379" { port = 6379 }
  host_port "8000" { limit = "0/s" }
  publish "a:b" {}
  publish "1:2:3" {}
  publish "127.0.0.1:3000" {}
  publish "3000" {}
  publish "3000:4000" {}
}
