limits {
  cpus       = 0
  processes  = -1
  open_files = 10.5
}
