secret "a" { header = "x-api-key" }
secret "b" {
  env  = "A B"
  file = "x"
  query  = "a&b"
  basic  = "a:b"
}
secret "c" {
  command = []
  header  = "content-length"
  format  = "Bearer"
}
secret "c" {
  env    = "X"
  header = "a b"
  inject = "yes"
}
secret "no name" {
  env   = "X"
  query = "key"
}

network {
  allow "a.example" { secret = secret.aa }
  allow "b.example" { secret = "c" }
  allow "c.example" { secret = [secret.c, var.x] }
  allow "d.example:80" { secret = secret.c }
  allow "e.example:22" { secret = secret.c }
}
