on "limit" {
  action = "stop"
  after  = "5m"
}
on "anomaly" {
  after   = "10ms"
  repeats = 0.5
}
