ssh_agent {
  keys   = ["", "SHA256:short", "MD5:aa:bb", "two\nlines", 5]
  socket = ""
  limit  = "often"
}

ssh_agent {}
