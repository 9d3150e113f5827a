files {
  read  = "/opt"
  write = [1, true]
  deny  = [["/x"]]
}
