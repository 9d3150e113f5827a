workspace {
  hide = ["/etc/passwd", "~/.ssh", "../x", ".", "a/[", "line\nbreak"]
}
