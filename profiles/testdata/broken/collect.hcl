artifacts {
  collect = ["/dist/**", "a/../../b"]
}
