workspace {
  path = ""
}
