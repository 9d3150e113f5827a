variable "tracker" { default = "web" }

network {
  allow "api.example" {
    limit       = "0/s"
    upload      = 5
    connections = 0
    request "get" "/v1" {}
    request "GET|POST|*" "v1" {}
    request "CONNECT" "/a//b" {}
    request "GET" "/a/../b" {}
    request "GET" "/a**" {}
    request "GET" "/a%41" {}
    request "GET" "/a?b=1" {}
    request "GET" "/x" { limit = "10/d" }
    request "GET" "/y" { when = env("HOME") == "x" }
    request "GET" "/z" { when = request.boddy.x == 1 }
    request "GET" "/u" { when = request.method }
    request "GET" "/v" { when = request.body.x == var.trakcer }
    request "GET" "/w" { wen = true }
    request "GET" {}
  }
  allow "both.example" {
    ports = [22, 443]
    request "GET" "/**" {}
  }
}
