secret "" {
  env    = "X"
  header = "x"
}
variable "" {}
network {
  deny "" {}
}
