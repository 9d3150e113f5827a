limits {
  cpus      = "two"
  processes = "512"
}
