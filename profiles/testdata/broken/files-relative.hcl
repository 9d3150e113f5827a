files {
  read  = ["src", "./src"]
  write = ["~other/x"]
  exec  = [""]
  deny  = ["/a/../b", "/a/{..,b}", "/a/\\.\\./b"]
}
