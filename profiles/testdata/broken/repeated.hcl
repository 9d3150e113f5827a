workspace {
  mode = "overlay"
  mode = "direct"
}
files {}
files {}
artifacts {}
artifacts {}
