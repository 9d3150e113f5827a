workspace {
  files = 0
}
limits {
  io_weight = 5
  memory    = "0"
  cpus      = -1
  processes = 1.5
}
