network = ["example.com"]

files {
  read {
    path = "/opt"
  }
}
