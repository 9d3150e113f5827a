secret "a" {
  env    = "AWS_SECRET_ACCESS_KEY"
  header = "authorization"
  inject = true
  aws {
    access_key        = "AKIA"
    session_token_env = "A B"
  }
}
secret "b" {
  env = "AWS_ACCESS_KEY_ID"
  aws {}
}
secret "c" {
  env = "KEY"
  aws = true
}
secret "d" {
  env = "KEY"
  aws {}
  aws {}
}
