workspace {
  mode = "overlay
}
