test "none" { expect = "deny" }
test "two" {
  connect = "a.example:443"
  read    = "/etc/passwd"
  expect  = "deny"
}
test "no port" {
  connect = "a.example"
  expect  = "deny"
}
test "no answer" { connect = "a.example:443" }
test "another answer" {
  connect = "a.example:443"
  expect  = "maybe"
}
test "no URL" {
  request = ["GET", "/x"]
  expect  = "deny"
}
test "no method" {
  request = ["https://a.example/"]
  expect  = "deny"
}
test "body of nothing" {
  connect = "a.example:443"
  body    = { a = 1 }
  expect  = "deny"
}
test "relative" {
  read   = "x/y"
  expect = "deny"
}
test "no program" {
  start  = ["git"]
  expect = "deny"
}
test "" {
  resolve = "a.example"
  expect  = "deny"
}
