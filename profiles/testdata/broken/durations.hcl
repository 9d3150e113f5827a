limits {
  time = "1w"
  idle = "0s"
}
