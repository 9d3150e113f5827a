process {
  pass_env = ["*", "AWS_*_KEY", "A B", "LD PRELOAD"]
  env = {
    "1X"  = "a"
    LIST  = ["a"]
    NUL   = "a\u0000b"
  }
}
