files {
  read = ["/opt/[a-", "/opt/{a,b"]
}
