price "some model" {
  input  = 1
  output = 2
}
price "gpt-x" { input = 3 }
price "gpt-y" {
  input      = -1
  output     = "15"
  cache_read = 0.0000001
  above      = 1.5
  cached     = 1
}
price "gpt-z" {
  input  = 1
  output = 2
}
price "gpt-z" {
  input  = 2
  output = 2
}
