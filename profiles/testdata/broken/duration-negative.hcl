limits {
  time = "-5m"
  idle = 600
}
