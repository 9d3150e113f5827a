workspace {
  mode = "direct"
}

workspace {
  mode  = "readonly"
  upper = "ram"
}
