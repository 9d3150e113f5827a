approval {
  timeout = "0s"
  quorum  = 0
  notify  = ["desktop", "pigeon"]
  webhok  = "x"
}
approval {}
