workspace {
  mode = "overlayed"
  size = "4 GB"
}

limits {
  time    = "1 hour"
  memory  = "12XB"
  enforce = "best-efort"
}

network {
  allow "exa mple.com" {}
  allow "example.com:99999" {}
}
