network {
  allow "api.example" {
    request "POST" "/a" {
      spend = { payment = request.body.amount }
    }
    request "POST" "/b" {
      spend = { payments = response.body.amount }
    }
    request "POST" "/c" {
      spend = { payments = [response.body.amount, 1] }
    }
    request "POST" "/d" {
      spend = { payments = [1, 2, 3] }
    }
    request "POST" "/e" {
      spend = { payments = request.bdy.amount }
    }
    request "POST" "/f" {
      spend = { payments = request.method == "GET" }
    }
    request "POST" "/g" {
      spend = { payments = -1 }
    }
    request "POST" "/h" {
      spend = request.body
    }
    request "POST" "/i" {
      spend = {}
    }
    request "POST" "/j" {
      spend = { payments = env("AMOUNT") }
    }
  }
}

budget "payments" {
  unit    = "usd per month; of all"
  per_day = 0
  per_run = "5"
}
budget "payments" { per_week = 1.0000001 }
budget "../x" { each = 1e13 }
budget "none" {}
budget "typo" { per_mouth = 1 }
